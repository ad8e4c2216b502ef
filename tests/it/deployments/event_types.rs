//! Types of events from their schemas: code that does not fit a schema does not build, and events that do not fit it are refused.

use std::path::{Path, PathBuf};

use larder_tests::{Larder, Options};
use serde_json::{Value, json};

use super::{cli, javascript, languages, python};

/// Of a purchase; `amount` is what says what an amount is.
fn schema(amount: Value) -> String {
    let schema = json!({
        "type": "object",
        "required": ["amount", "currency", "merchant", "kind", "fee", "tags", "points"],
        "properties": {
            "amount": amount,
            "currency": { "type": "string", "minLength": 3, "maxLength": 3 },
            "kind": { "enum": ["chip", "contact-less"] },
            "points": { "type": "integer" },
            "online": { "type": "boolean" },
            "share": { "type": ["number", "null"] },
            "at": { "type": "string", "format": "date-time" },
            "tags": { "type": "array", "items": { "type": "string" } },
            "extra": { "type": "object", "additionalProperties": { "type": "integer" } },
            "merchant": {
                "type": "object", "required": ["legalName"],
                "properties": { "legalName": { "type": "string", "maxLength": 40 }, "mcc": { "type": "string" } },
            },
            "fee": {
                "type": "object", "required": ["amount", "currency"],
                "properties": { "amount": { "type": "string", "format": "decimal" }, "currency": { "type": "string" } },
            },
        },
    });
    serde_json::to_string_pretty(&schema).unwrap()
}

fn amount() -> Value {
    json!({ "type": "string", "format": "decimal" })
}

fn purchase(amount: Value) -> Value {
    let data = json!({
        "amount": amount, "currency": "SEK", "kind": "contact-less", "points": 3, "tags": ["food", "late"],
        "extra": { "floor": 2 }, "share": null, "online": true, "at": "2026-11-25T06:00:00Z",
        "merchant": { "legalName": "Corner shop" }, "fee": { "amount": "2.50", "currency": "SEK" },
    });
    json!({ "specversion": "1.0", "id": "p-1", "source": "/cards", "type": "card.purchase", "subject": "card-1", "data": data })
}

/// Gives a project the schema, its code, and an event.
fn write(project: &Path, file: &str, code: &str) {
    let manifest = std::fs::read_to_string(project.join("larder.toml")).unwrap();
    let manifest = format!("{manifest}\n[events.\"card.purchase\"]\nschema = \"purchase.json\"\nvalidate = true\n");
    std::fs::write(project.join("larder.toml"), manifest).unwrap();
    std::fs::write(project.join("purchase.json"), schema(amount())).unwrap();
    std::fs::write(project.join("event.json"), purchase(json!("42.50")).to_string()).unwrap();
    std::fs::write(project.join(file), code).unwrap();
}

/// The project builds and saves in the sandbox; what does not fit is refused there; and a schema that changes breaks the
/// build at the lines that it breaks.
async fn checked(larder: &Larder, project: &Path, says: &[&str]) {
    cli(larder, project, &["build"]).await;
    let said = cli(larder, project, &["test", "--sandbox"]).await;
    assert!(said.contains("save     5.00 SEK  Corner shop"), "{said}");
    std::fs::write(project.join("bad.json"), purchase(json!(42.5)).to_string()).unwrap();
    let (code, out, err) = larder.cli(project, &["test", "--sandbox", "--event", "bad.json"]).await;
    assert_eq!(code, 1, "{out}{err}");
    assert!(
        err.contains("card.purchase p-1: data.amount must be string, not 42.5, so Larder would refuse it"),
        "{err}"
    );
    std::fs::write(project.join("purchase.json"), schema(json!({ "type": "boolean" }))).unwrap();
    let (code, out, err) = larder.cli(project, &["build"]).await;
    assert_ne!(code, 0, "{out}{err}");
    says.iter().for_each(|says| assert!(err.contains(says), "{says:?} is not in: {out}{err}"));
    std::fs::write(project.join("purchase.json"), schema(amount())).unwrap();
}

async fn new(larder: &Larder, language: &str) -> PathBuf {
    let name = format!("{language}-typed");
    cli(larder, larder.scratch(), &["new", &name, "--lang", language]).await;
    larder.scratch().join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_typescript() {
    if !javascript::has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default().set("LARDER_BUILD__DEADLINE", "5m")).await;
    let project = new(&larder, "ts").await;
    let code = "import { type Event, Money, type Run, defineFunction } from \"@larder/sdk\";
import type { CardPurchase } from \"@larder/sdk/events\";

function onEvent(event: Event<CardPurchase>, run: Run) {
  const { amount, currency, fee, kind, merchant, tags, extra, points } = event.data;
  const price = Money.of(amount, currency).plus(Money.of(fee.amount, fee.currency));
  const saving = price.roundUpTo(\"10\").minus(price);
  if (kind === \"contact-less\" && tags.length === 2 && points + (extra?.floor ?? 0) === 5) {
    run.save(saving, { memo: merchant.legalName });
  }
}

export default defineFunction<CardPurchase>({ onEvent });
";
    write(&project, "src/index.ts", code);
    checked(&larder, &project, &["src/index.ts(6,", "'boolean' is not assignable to parameter of type 'string'"]).await;
    // A word that the schema does not have.
    std::fs::write(project.join("src/index.ts"), code.replace("contact-less", "contactless")).unwrap();
    let (code, _, err) = larder.cli(&project, &["build"]).await;
    assert!(code != 0 && err.contains("src/index.ts(8,"), "{err}");
    // The server knows the schema from the deployment.
    let (code, out, err) = larder.cli(&project, &["deploy"]).await;
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = larder.cli(&project, &["events", "send", "bad.json"]).await;
    assert_eq!(code, 1, "{out}{err}");
    let why = "Invalid `data`: data.amount must be string, not 42.5, by the schema of function ts-typed";
    assert!(err.contains(why), "{err}");
    cli(&larder, &project, &["events", "send", "event.json", "--wait", "0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_rust() {
    let larder = Larder::start_with(Options::default()).await;
    let project = new(&larder, "rust").await;
    let code = "use larder_sdk::events::{CardPurchase, CardPurchaseKind};
use larder_sdk::prelude::*;

fn savehack(purchase: Event<CardPurchase>, run: &mut Run) -> Result<(), Error> {
    let data = purchase.data;
    let price = data.money()?.plus(data.fee)?;
    let saving = price.round_up_to(Decimal::TEN)?.minus(price)?;
    let floor = data.extra.as_ref().map_or(0, |extra| extra[\"floor\"]);
    if data.kind == CardPurchaseKind::ContactLess && data.tags.len() == 2 && data.points + floor == 5 {
        run.save(saving.memo(data.merchant.legal_name))?;
    }
    Ok(())
}

larder_sdk::function!(savehack);
";
    write(&project, "src/lib.rs", code);
    checked(&larder, &project, &["src/lib.rs:6:", "no method named `money`"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn in_python() {
    if !python::has_python() {
        return;
    }
    let larder = Larder::start_with(Options::default()).await;
    let project = python::new(&larder, "savehack").await;
    let code = "from larder_sdk import Event, Run, on_event
from larder_sdk.events import CardPurchase


@on_event
def round_up(event: Event[CardPurchase], run: Run) -> None:
    data = event.data
    price = data.money.plus(data.fee)
    floor = (data.extra or {}).get(\"floor\", 0)
    if data.kind == \"contact-less\" and len(data.tags) == 2 and data.points + floor == 5 and data.at is not None:
        run.save(price.round_up_to(\"10\").minus(price), memo=data.merchant.legal_name)
";
    write(&project, "src/app.py", code);
    checked(&larder, &project, &["src/app.py:8:", "\"CardPurchase\" has no attribute \"money\""]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn in_c() {
    let larder = Larder::start_with(Options::default()).await;
    let project = languages::typed(&larder, "c").await;
    let code = "#include \"events.h\"
#include \"guide.h\"

bool exports_larder_handle(larder_event_t *event, larder_option_list_u8_t *answer, larder_handler_error_t *error) {
  static larder_card_purchase_t data;
  char text[160];
  larder_string_t why;
  larder_list_u8_t tag, floor;
  int64_t storey = 0;
  answer->is_some = false;
  if (!larder_read_card_purchase(&event->data, &data, text)) return larder_reject(error, text);
  bool fits = larder_json_item(&data.tags, 1, &tag) && !larder_json_item(&data.tags, 2, &tag) &&
              larder_json_value(&data.extra, \"floor\", &floor) && larder_json_integer(&floor, &storey) &&
              data.kind == CARD_PURCHASE_KIND_CONTACT_LESS && data.points + storey == 5 && data.online && !data.has_share;
  larder_event_free(event);
  if (!fits) return larder_reject(error, \"another purchase\");
  int64_t *amount = &data.amount;
  if (larder_save(1000 - (*amount + data.fee.amount) % 1000, data.currency, data.merchant.legal_name, &why)) return true;
  return larder_reject(error, \"not saved\");
}
";
    write(&project, "src/app.c", code);
    checked(&larder, &project, &["src/app.c:17:", "int64_t"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn in_zig() {
    let larder = Larder::start_with(Options::default()).await;
    let project = languages::typed(&larder, "zig").await;
    let code = "const std = @import(\"std\");
const larder = @import(\"larder\");

var data: larder.larder_card_purchase_t = undefined;

export fn exports_larder_handle(
    event: *larder.larder_event_t,
    answer: *larder.larder_option_list_u8_t,
    failure: *larder.larder_handler_error_t,
) bool {
    defer larder.larder_event_free(event);
    answer.is_some = false;
    var text: [160]u8 = undefined;
    if (!larder.larder_read_card_purchase(&event.data, &data, &text)) return larder.larder_reject(failure, &text);
    const price: i64 = data.amount + data.fee.amount;
    var why: larder.larder_string_t = undefined;
    if (larder.larder_save(@mod(-price, 1000), &data.currency, &data.merchant.legal_name, &why)) return true;
    return larder.larder_reject(failure, \"not saved\");
}
";
    write(&project, "src/app.zig", code);
    checked(&larder, &project, &["src/app.zig:15:", "error:"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn in_go() {
    let larder = Larder::start_with(Options::default()).await;
    let project = languages::typed(&larder, "go").await;
    let code = "package main

import (
	\"larder\"
	\"larder/events\"
)

func main() { larder.OnEvent(roundUp) }

func roundUp(event larder.Event) error {
	data, err := larder.Read[events.CardPurchase](event)
	if err != nil {
		return err
	}
	price := data.Amount.Add(data.Fee.Amount)
	if data.Kind != events.CardPurchaseKindContactLess || len(data.Tags) != 2 || data.Points+data.Extra[\"floor\"] != 5 {
		return larder.Reject(\"another purchase\")
	}
	return larder.Save(price.ToNext(larder.Hundredths(10_00)), data.Currency, data.Merchant.LegalName)
}
";
    write(&project, "main.go", code);
    checked(&larder, &project, &["main.go:15:", "data.Amount.Add undefined"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make languages"]
async fn in_assemblyscript() {
    if !javascript::has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default()).await;
    let project = new(&larder, "assemblyscript").await;
    let code = "import { Event, Money, onEvent, save } from \"@larder/sdk\";
import { CardPurchase } from \"@larder/sdk/events\";

onEvent((event: Event): void => {
  const data = CardPurchase.of(event);
  const price = Money.of(data.amount, data.currency).plus(data.fee);
  const extra = data.extra;
  const floor: i64 = extra === null ? 0 : extra.need(\"floor\").asInteger();
  if (data.kind == \"contact-less\" && data.tags.length == 2 && data.points + floor == 5 && data.hasOnline && !data.hasShare) {
    save(price.roundUpTo(\"10\").minus(price), data.merchant.legalName);
  }
});
";
    write(&project, "src/index.ts", code);
    checked(&larder, &project, &["src/index.ts", "Type 'bool' is not assignable to type"]).await;
}
