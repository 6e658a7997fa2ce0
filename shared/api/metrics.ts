import { endpoint } from "../endpoint.ts";

export const getMetrics = endpoint({
  method: "GET",
  path: "/api/v1/metrics",
  access: "metrics:read",
  summary: "Read metrics in the text format of Prometheus: of sites, and of this replica",
  description:
    "Numbers of devices, backups, jobs and agents are by site and the same from every replica, so that whoever scrapes " +
    "several takes one of them (`max by (tenant, site)`); `rookery_http_*` and `rookery_process_*` are of the replica that answers, and for whoever sees all sites. " +
    "There is none by device: `/api/v1/devices?staleHours=…` names them",
  replyAs: "text",
});
