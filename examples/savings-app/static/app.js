// The page of an end user. It speaks to /_larder/me of its own host with the end user's token, and to nobody else. Whatever comes
// from there is put into the page as text.
"use strict";

const ME = "/_larder/me";
const PAGE = 10;
const KEY = "token";

const find = (id) => document.getElementById(id);

/** An element with attributes, and children that are elements or text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

function say(text) {
  find("status").textContent = text;
  find("error").hidden = true;
}

function complain(text) {
  find("status").textContent = "";
  find("error").textContent = text;
  find("error").hidden = false;
}

/** The token that the sign-in handed over, which must not stay in the address or in the history. */
function token() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(KEY);
}

async function ask(method, path, body) {
  const headers = { authorization: `Bearer ${token()}` };
  if (body) headers["content-type"] = "application/json";
  const answer = await fetch(ME + path, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
  if (answer.status === 204) return null;
  const read = await answer.json().catch(() => ({}));
  if (answer.ok) return read;
  if (answer.status === 401) {
    sessionStorage.removeItem(KEY);
    showSignedOut();
  }
  throw new Error(read.message || `The server answered ${answer.status}. Try again in a moment.`);
}

const queries = (...all) => "?" + new URLSearchParams(all.map((query) => ["queries[]", JSON.stringify(query)]));
const newestFirst = { method: "orderDesc", attribute: "$createdAt" };

/** Does something that a person asked for, and says how it went. */
async function act(button, done, work) {
  button.disabled = true;
  try {
    await work();
    await showAll();
    say(done);
  } catch (error) {
    complain(error.message);
  } finally {
    button.disabled = false;
  }
}

const money = (amount, currency) => `${amount} ${currency}`;
const when = (text) => new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

function showList(id, rows) {
  find(id).replaceChildren(...rows);
  find(`no-${id}`).hidden = rows.length > 0;
}

/** Whole numbers of the smallest unit, so that no sum is rounded. */
function add(one, other) {
  const places = Math.max(...[one, other].map((text) => (text.split(".")[1] || "").length));
  const units = (text) => {
    const [whole, part = ""] = text.split(".");
    return BigInt(whole + part.padEnd(places, "0"));
  };
  const digits = String(units(one) + units(other)).padStart(places + 1, "0");
  return places ? `${digits.slice(0, -places)}.${digits.slice(-places)}` : digits;
}

function showSums(savings) {
  const sums = new Map();
  for (const { currency, amount, transactions } of savings) {
    const sum = sums.get(currency) || { amount: "0", transactions: 0 };
    sums.set(currency, { amount: add(sum.amount, amount), transactions: sum.transactions + transactions });
  }
  showList("sums", [...sums].map(([currency, sum]) =>
    make("li", {}, make("strong", {}, money(sum.amount, currency)),
      `in ${sum.transactions} ${sum.transactions === 1 ? "step" : "steps"}`)));
}

/** The inputs for settings that a schema describes, and how they are read. */
function fields(schema, settings, id) {
  const readers = [];
  const inputs = Object.entries(schema.properties || {}).map(([name, of]) => {
    const attributes = { id: `${id}-${name}`, name, required: (schema.required || []).includes(name) };
    const value = settings[name] ?? of.default;
    const title = of.title || name;
    const help = of.description ? make("span", { class: "about" }, ` ${of.description}`) : null;
    if (of.type === "boolean") {
      const input = make("input", { ...attributes, type: "checkbox", required: false });
      input.checked = value === true;
      readers.push([name, () => input.checked]);
      return make("label", { class: "check", for: attributes.id }, input, title, help);
    }
    if (of.enum) {
      const options = of.enum.map((one) => make("option", { selected: one === value }, String(one)));
      if (!attributes.required) options.unshift(make("option", { value: "", selected: value === undefined }, "–"));
      const input = make("select", attributes, ...options);
      const offset = attributes.required ? 0 : 1;
      readers.push([name, () => of.enum[input.selectedIndex - offset]]);
      return make("label", { for: attributes.id }, title, help, input);
    }
    const isNumber = of.type === "number" || of.type === "integer";
    const input = make("input", {
      ...attributes, type: isNumber ? "number" : "text", min: of.minimum, max: of.maximum,
      step: of.type === "integer" ? 1 : "any", minlength: of.minLength, maxlength: of.maxLength,
    });
    input.value = value ?? "";
    readers.push([name, () => (input.value === "" ? undefined : isNumber ? Number(input.value) : input.value)]);
    return make("label", { for: attributes.id }, title, help, input);
  });
  const read = () => Object.fromEntries(readers.map(([name, value]) => [name, value()]).filter(([, value]) => value !== undefined));
  return [inputs, read];
}

function enrolmentCard(enrolment, hacks) {
  const { $id: id, functionName, functionId, topic, status, pausedBy, open, settings } = enrolment;
  const name = functionName || functionId;
  const hack = hacks.find((one) => one.functionId === functionId);
  const change = (button, done, body) => act(button, done, () => ask("PATCH", `/enrolments/${id}`, body));
  const paused = status === "paused";
  const card = make("li", { "data-function": functionId },
    make("div", { class: "title" }, make("h3", {}, name),
      make("span", { class: paused ? "badge paused" : "badge" }, paused ? "Paused" : "Active")),
    make("p", { class: "about" }, topic));
  if (!open || (paused && pausedBy !== "self")) {
    card.append(make("p", { class: "about" }, open ? "Paused by your bank." : "Your bank looks after this one."));
    return card;
  }
  const [inputs, read] = fields(hack?.settingsSchema || {}, settings, id);
  if (inputs.length) {
    const save = make("button", { type: "submit", class: "plain" }, "Save settings");
    card.append(make("form", {
      submit: (event) => {
        event.preventDefault();
        change(save, `The settings of ${name} are saved.`, { settings: { ...settings, ...read() } });
      },
    }, ...inputs, make("div", { class: "actions" }, save)));
  }
  const toggle = make("button", {
    type: "button",
    click: () => change(toggle, `${name} is ${paused ? "active again" : "paused"}.`, { status: paused ? "active" : "paused" }),
  }, paused ? "Resume" : "Pause");
  const leave = make("button", {
    type: "button", class: "plain",
    click: () => {
      if (confirm(`Leave ${name}? What you have saved stays yours.`)) {
        act(leave, `You have left ${name}.`, () => ask("DELETE", `/enrolments/${id}`));
      }
    },
  }, "Leave");
  toggle.setAttribute("aria-label", `${toggle.textContent} ${name}`);
  leave.setAttribute("aria-label", `Leave ${name}`);
  card.append(make("div", { class: "actions" }, toggle, leave));
  return card;
}

function savehackCard({ functionId, name, topics, settingsSchema }) {
  const id = `join-${functionId}`;
  const [inputs, read] = fields(settingsSchema, {}, id);
  const isFree = topics.some((topic) => topic.endsWith("*"));
  let topic = null;
  if (topics.length > 1 || isFree) {
    const attributes = { id: `${id}-topic`, required: true };
    topic = isFree ? make("input", { ...attributes, type: "text" })
      : make("select", attributes, ...topics.map((one) => make("option", {}, one)));
    inputs.unshift(make("label", { for: attributes.id }, "For", topic));
  }
  const join = make("button", { type: "submit", "aria-label": `Join ${name}` }, "Join");
  return make("li", { "data-function": functionId }, make("h3", {}, name), make("form", {
    submit: (event) => {
      event.preventDefault();
      const body = { functionId, settings: read(), topic: topic?.value };
      act(join, `You have joined ${name}.`, () => ask("POST", "/enrolments", body));
    },
  }, ...inputs, make("div", { class: "actions" }, join)));
}

const transactionRow = (one) => make("tr", {},
  make("td", {}, make("time", { datetime: one.$createdAt }, when(one.$createdAt))),
  make("td", {}, one.functionName || one.functionId), make("td", {}, one.memo),
  make("td", { class: "number" }, money(one.amount, one.currency)));

let last = null;

function showTransactions(page, more) {
  const rows = page.transactions.map(transactionRow);
  if (more) find("transactions").append(...rows);
  else showList("transactions", rows);
  last = page.transactions.at(-1)?.$id ?? last;
  find("show-more").hidden = page.transactions.length < PAGE;
}

async function showAll() {
  const [me, savings, enrolments, hacks, transactions] = await Promise.all([
    ask("GET", ""), ask("GET", "/savings"), ask("GET", "/enrolments" + queries({ method: "limit", values: [100] }, newestFirst)),
    ask("GET", "/savehacks"), ask("GET", "/transactions" + queries({ method: "limit", values: [PAGE] }, newestFirst)),
  ]);
  find("user").textContent = me.endUser;
  showSums(savings.savings);
  showList("enrolments", enrolments.enrolments.map((one) => enrolmentCard(one, hacks.savehacks)));
  const joined = new Set(enrolments.enrolments.map((one) => one.functionId));
  const more = hacks.savehacks.filter((one) => !joined.has(one.functionId) || one.topics.length > 1 || one.topics[0].endsWith("*"));
  showList("savehacks", more.map(savehackCard));
  showTransactions(transactions, false);
  for (const id of ["who", "signed-in"]) find(id).hidden = false;
  find("signed-out").hidden = true;
}

function showSignedOut() {
  for (const id of ["who", "signed-in"]) find(id).hidden = true;
  find("signed-out").hidden = false;
  const address = document.body.dataset.signIn;
  if (address) {
    const link = find("sign-in");
    link.href = `${address}?app=${encodeURIComponent(location.origin + location.pathname)}`;
    link.hidden = false;
  }
}

find("sign-out").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  showSignedOut();
  say("You are signed out.");
});

find("show-more").addEventListener("click", async (event) => {
  const button = event.currentTarget;
  button.disabled = true;
  try {
    const after = { method: "cursorAfter", values: [last] };
    showTransactions(await ask("GET", "/transactions" + queries({ method: "limit", values: [PAGE] }, newestFirst, after)), true);
  } catch (error) {
    complain(error.message);
  } finally {
    button.disabled = false;
  }
});

async function start() {
  if (!token()) return showSignedOut();
  say("One moment…");
  try {
    await showAll();
    say("");
  } catch (error) {
    complain(error.message);
  }
}

addEventListener("hashchange", start);
start();
