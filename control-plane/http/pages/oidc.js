// The page to which an OpenID provider sends a browser back. A page, not an endpoint, takes the answer: a GET changes
// nothing here, and what it hands on goes with the Origin of this very page. Opened without an answer, it begins a sign-in.

const returned = new URLSearchParams(location.search);
history.replaceState(null, "", location.pathname);

try {
  if (returned.has("error")) say("The OpenID provider did not let you in.");
  else if (returned.has("code")) await finish();
  else location.replace((await post("login/oidc/start")).authorizationUrl);
} catch (error) {
  say(error.message);
}

async function finish() {
  const body = {};
  for (const name of ["code", "state", "iss"]) {
    if (returned.has(name)) body[name] = returned.get(name);
  }
  await post("login/oidc", body);
  location.replace("/");
}

async function post(path, body) {
  const reply = await fetch(`/api/v1/${path}`, {
    method: "POST",
    ...body && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) },
  });
  const answer = await reply.json();
  if (reply.ok) return answer;
  throw new Error(`${answer.detail} ${answer.remedy}`);
}

function say(text) {
  document.getElementById("message").textContent = text;
  document.getElementById("again").hidden = false;
}
