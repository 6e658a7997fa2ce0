/** What network devices write to a log when their configuration has changed, as data: no vendor is known elsewhere. */

/** One kind of message. All patterns are bounded, so that matching takes a time that grows with the length and no faster. */
export interface ChangeMessage {
  /** Whose message it is, for people. */
  readonly vendor: string;
  /** Stands in every one of them; looked for first. */
  readonly marker: string;
  /** What must be there as well. */
  readonly also?: RegExp;
  /** What tells one that is no change. */
  readonly except?: RegExp;
  /** Who made the change: the first group that took part. */
  readonly user?: RegExp;
  /** Whom the message is about, where that stands in its text. */
  readonly host?: RegExp;
  /** Behind this stands what was typed, which may hold a password: it is not told. */
  readonly until?: string;
  readonly source: string;
}

/** Commands that change nothing. An agent's own backup sends some of them, and must not order the next backup by that. */
const ASA_READS = /executed (?:the )?'(?:terminal|show|more|enable|disable|exit|quit|dir|ping)\b/;

export const CHANGE_MESSAGES: readonly ChangeMessage[] = [
  {
    vendor: "Cisco IOS, IOS-XE, IOS-XR; Arista EOS",
    marker: "5-CONFIG_I",
    user: /Configured from \S{1,100} by (\S{1,100})/,
    source: "Cisco IOS System Message Guide, SYS-5-CONFIG_I; Cisco IOS XR, MGBL-SYS-5-CONFIG_I",
  },
  {
    vendor: "Cisco IOS, IOS-XE",
    marker: "PARSER-5-CFGLOG_LOGGEDCMD",
    user: /User: ?(\S{1,100})/,
    until: "logged command:",
    source: "cisco.com, Configuration Change Notification and Logging (archive, notify syslog)",
  },
  {
    vendor: "Cisco NX-OS",
    marker: "VSHD_SYSLOG_CONFIG_I",
    user: /Configured from \S{1,100} by (\S{1,100})/,
    source: "cisco.com, 118907-configure-nx7k-00 (Nexus 7000)",
  },
  {
    vendor: "Cisco IOS-XR",
    marker: "MGBL-CONFIG-6-DB_COMMIT",
    user: /by user '([^']{1,100})'/,
    source: "Cisco IOS XR System Error Message Reference, MGBL-CONFIG",
  },
  {
    vendor: "Cisco ASA, FTD",
    marker: "-5-111008",
    except: ASA_READS,
    user: /User '([^']{1,100})'/,
    until: " executed ",
    source: "Cisco Secure Firewall ASA Series Syslog Messages, 111008",
  },
  {
    vendor: "Cisco ASA, FTD",
    marker: "-5-111010",
    except: ASA_READS,
    user: /User '([^']{1,100})'/,
    until: ", executed ",
    source: "Cisco Secure Firewall ASA Series Syslog Messages, 111010",
  },
  {
    vendor: "Juniper Junos",
    marker: "UI_COMMIT",
    also: /\bUI_COMMIT(?:_COMPLETED)?\b/,
    except: /'commit check'/,
    user: /User '([^']{1,100})'|\busername="([^"]{1,100})"/,
    source: "juniper.net, System Log Messages, UI_COMMIT and UI_COMMIT_COMPLETED",
  },
  {
    vendor: "Arista EOS",
    marker: "CONFIG_SESSION_COMMIT_SUCCESS",
    user: /User (\S{1,100}) committed/,
    source: "arista.com, EOS: Configure Session; messages of ConfigAgent",
  },
  {
    vendor: "Fortinet FortiOS",
    // Object added, edited or deleted; "Attribute configured" and "Object attribute configured".
    marker: "cfgpath=",
    // What an agent's own backup sets, to be spared the pager.
    except: /\bcfgpath="?system\.console\b/,
    user: /\buser="?([^" ]{1,100})/,
    host: /\bdevname="?([\w.-]{1,255})/,
    until: " cfgattr=",
    source: "community.fortinet.com, 387138: logid 0100044546 and 0100044547",
  },
  {
    vendor: "Palo Alto PAN-OS",
    // Before a commit only the candidate has changed.
    marker: ",CONFIG,",
    also: /,CONFIG,(?:[^,]{0,64},){5}commit/,
    user: /,CONFIG,(?:[^,]{0,64},){5}commit[^,]{0,32},([^,]{1,100}),/,
    source: "docs.paloaltonetworks.com, Config Log Fields",
  },
  {
    vendor: "MikroTik RouterOS",
    marker: "ed by ",
    also: /\b(?:added|changed|moved|removed|enabled|disabled) by \S/,
    user: /\b(?:added|changed|moved|removed|enabled|disabled) by (?:[\w-]{1,20}:)?([^\s@(]{1,100})/,
    // From 7.17 on the command itself, in parentheses.
    until: " (",
    source: "help.mikrotik.com, Log",
  },
  {
    vendor: "Huawei VRP",
    marker: "CFM/",
    also: /%%\d{2}CFM\/\d\//,
    source: "support.huawei.com, Log Reference, CFM/4/SAVE",
  },
  {
    vendor: "Huawei VRP",
    marker: "CONFIGURATION/",
    also: /\bCONFIGURATION\/\d\/\w|%%\d{2}CONFIGURATION\/\d\/\w/,
    user: /\b(?:TerUser="|User ?name ?= ?|UserName=|User=)([^",;)\s]{1,100})/,
    source: "support.huawei.com, NE8000 Log Reference, CONFIGURATION/6/CFG_FILE_CHANGE",
  },
  {
    vendor: "Huawei VRP",
    marker: "HWCM/4/CFGCHANGE",
    source: "support.huawei.com, Log Reference, HWCM",
  },
  {
    vendor: "HPE Comware, H3C",
    marker: "CFGMAN/",
    also: /CFGMAN_(?:CFGCHANGED|EXIT_FROM_CONFIGURE)/,
    user: /-User=([^;]{1,100});/,
    source: "H3C System Log Messages Reference, CFGMAN_CFGCHANGED",
  },
  {
    vendor: "HPE Aruba (ArubaOS-Switch)",
    marker: "'Running Config Change'",
    user: /User-Name='([^']{1,100})'/,
    source: "Oxidized, extra/syslog.rb",
  },
];
