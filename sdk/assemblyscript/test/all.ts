// What the SDK's own tests run: each event says what to do, and what it came to is stored.
import { Event, Json, Money, emit, enrolment, log, onEvent, quote, reject, retry, save, saveFor, sign, state, variable } from "../index";
import { Request, Response, onRequest } from "../index";

function money(given: Json): Money {
  return Money.of(given.text("amount"), given.text("currency", "SEK"));
}

function calculate(given: Json): string {
  const kind = given.text("do"), one = money(given);
  if (kind == "text") return one.amount;
  if (kind == "round_up") return one.roundUpTo(given.text("with")).amount;
  if (kind == "percent") return one.percent(given.text("with")).amount;
  const other = Money.of(given.text("with"), given.text("currency", "SEK"));
  if (kind == "plus") return one.plus(other).amount;
  if (kind == "minus") return one.minus(other).amount;
  if (kind == "at_most") return one.atMost(other).amount;
  return one.compare(other).toString();
}

/** Reads and writes with garbage beside it: what the host gives is whole, whatever the collector does meanwhile. */
function busy(): void {
  const value = "påse ".repeat(10_000);
  for (let key = 0; key < 3; key++) state.set("k" + key.toString(), value);
  for (let turn = 0; turn < 300; turn++) {
    const read = state.get("k0");
    if (read === null || read != value) reject(`turn ${turn}`);
    let garbage = "";
    for (let at = 0; at < 20; at++) garbage += value.substring(at, 500 + at);
  }
  const all = state.list("k", "k0");
  if (all.length != 2 || all[1].key != "k2" || all[1].text() != value) reject(`${all.length} entries`);
}

onEvent((event: Event): void => {
  const kind = event.type;
  if (kind == "busy") return busy();
  const given = event.json();
  if (kind == "money") return state.set("result", calculate(given));
  if (kind == "json") return state.set("result", `${given.object("a").list("b")[1].asInteger()} ${given.text("c")} ${quote(given.text("c"))}`);
  if (kind == "save") {
    save(money(given), given.text("memo", ""));
    return log("saved");
  }
  if (kind == "save-for") {
    saveFor("bo", money(given));
    return;
  }
  if (kind == "all") {
    const it = enrolment();
    if (it === null) return reject("nobody");
    state.increment("runs");
    state.increment("runs", -3);
    state.set("for", `${it.endUser} ${it.topic} ${it.settings.text("percent")} ${variable("GREETING")} ${event.attribute("traceparent")}`);
    state.set("gone", "x");
    state.remove("gone");
    state.setBytes("signed", sign("bank", event.data));
    if (state.get("gone") !== null || event.subject != "Zoë \"1%\"") return reject("not gone");
    emit("goal.reached", `{"of":${quote(it.endUser)}}`, event.subject);
    return;
  }
  if (kind == "retry") {
    state.set("lost", "x");
    save(Money.of("1", "SEK"));
    return retry("later");
  }
  if (kind == "trap") {
    const list: i32[] = [];
    list[3].toString();
  }
  reject(`no ${kind}`);
});

onRequest((request: Request): Response => {
  if (request.path == "/echo") return new Response(request.bytes(), 200, request.header("Content-Type")).header("X-Own", request.header("x-own"));
  return Response.json(`{"q":${quote(request.query("q", "none"))},"path":${quote(request.path)}}`, 404);
});
