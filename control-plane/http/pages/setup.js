// The page behind the one-time links. The secret is in the fragment, so no server and no log has seen it; it is taken
// out of the address bar at once, so that it stays in no history either.

const token = location.hash.slice(1);
history.replaceState(null, "", location.pathname);
// A link that is opened where this page stands already changes the fragment and loads nothing.
addEventListener("hashchange", () => location.reload());

const recovering = token.startsWith("rkr_");
const form = element("form");
const submit = element("submit");

if (!/^rk[ur]_[\w-]{43}$/.test(token)) {
  say(
    "This address has no set-up link in it. Open the newest link that the control plane printed, whole.",
  );
} else {
  if (recovering) {
    document.title = "Recover Rookery";
    element("heading").textContent = "Set a new password";
    submit.textContent = "Set password";
    element("username-field").hidden = true;
    element("username").required = false;
    say("Choose a new password for the administrator that this link was made for.");
  } else {
    say("Choose the name and the password of the first administrator.");
  }
  form.hidden = false;
  element(recovering ? "password" : "username").focus();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  showErrors({});
  const found = check();
  if (Object.keys(found).length > 0) return showErrors(found);
  submit.disabled = true;
  try {
    await send();
  } catch {
    showErrors({ form: "The control plane does not answer. Try again." });
  } finally {
    submit.disabled = false;
  }
});

function check() {
  const found = {};
  if (!recovering && value("username") === "") found.username = "Choose a user name.";
  if (value("password").length < 12) found.password = "Use at least 12 characters.";
  else if (value("password") !== value("repeated")) found.repeated = "The passwords differ.";
  return found;
}

async function send() {
  const body = { token, password: value("password") };
  if (!recovering) body.username = value("username");
  const reply = await fetch(recovering ? "/api/v1/recovery" : "/api/v1/setup", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (reply.ok) return finish();
  const problem = await reply.json();
  const errors = {};
  for (const { pointer, detail } of problem.errors ?? []) {
    const field = pointer.slice(2);
    errors[document.getElementById(`${field}-error`) ? field : "form"] ??= `This ${detail}.`;
  }
  if (Object.keys(errors).length === 0) errors.form = `${problem.detail} ${problem.remedy}`;
  showErrors(errors);
  element("next").hidden = problem.type !== "/problems/already-set-up";
}

function finish() {
  form.hidden = true;
  form.reset();
  say(recovering ? "The password is set and you are logged in." : "Done: you are logged in.");
  element("next").hidden = false;
  element("next").querySelector("a").focus();
}

/** Shows each error below its field, and goes to the first. */
function showErrors(errors) {
  for (const name of ["username", "password", "repeated", "form"]) {
    const place = element(`${name}-error`);
    place.textContent = errors[name] ?? "";
    place.hidden = !errors[name];
    if (name !== "form") element(name).setAttribute("aria-invalid", String(Boolean(errors[name])));
  }
  const [first] = Object.keys(errors).filter((name) => name !== "form");
  if (first) element(first).focus();
}

function say(text) {
  element("message").textContent = text;
}

function value(id) {
  return element(id).value;
}

function element(id) {
  return document.getElementById(id);
}
