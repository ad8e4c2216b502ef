use std::path::Path;

use super::*;

const SCHEMA: &str = r#"{
  "type": "object",
  "description": "A purchase by card.",
  "properties": {
    "amount": { "type": "string", "format": "decimal" },
    "currency": { "type": "string", "minLength": 3, "maxLength": 3 },
    "merchantName": { "type": "string", "description": "As the receipt says it.", "maxLength": 40 },
    "kind": { "enum": ["chip", "contact-less"] },
    "type": { "type": ["string", "null"] },
    "points": { "type": "integer" },
    "share": { "type": "number" },
    "online": { "type": "boolean" },
    "at": { "type": "string", "format": "date-time" },
    "tags": { "type": "array", "items": { "type": "string" } },
    "fee": {
      "type": "object",
      "properties": { "amount": { "type": "string", "format": "decimal" }, "currency": { "type": "string" } },
      "required": ["amount", "currency"]
    },
    "lines": {
      "type": "array",
      "items": { "type": "object", "properties": { "sku": { "type": "string" } }, "required": ["sku"] }
    },
    "extra": { "type": "object", "additionalProperties": { "type": "integer" } }
  },
  "required": ["amount", "currency", "merchantName", "kind", "fee", "lines", "points"]
}"#;

/// The module of a language.
fn module(language: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.json"), SCHEMA).unwrap();
    let text = format!(
        "[function]\nid = \"a\"\nevents = [\"card.*\"]\n[build]\nlanguage = \"{language}\"\n[events.\"card.purchase\"]\nschema = \"s.json\"\n"
    );
    let manifest = Manifest::parse(&text, &folder.path().join("larder.toml")).unwrap();
    let written = write(folder.path(), &manifest).unwrap();
    written.iter().map(|path| std::fs::read_to_string(folder.path().join(path)).unwrap()).collect()
}

#[test]
fn each_language_has_types_of_the_same_members() {
    for (language, lines) in [
        (
            "rust",
            &[
                "/// The data of `card.purchase`.",
                "pub struct CardPurchase {",
                "    pub amount: rust_decimal::Decimal,",
                "    /// As the receipt says it.\n    #[serde(rename = \"merchantName\")]\n    pub merchant_name: String,",
                "    #[serde(rename = \"type\", default, skip_serializing_if = \"Option::is_none\")]\n    pub type_: Option<String>,",
                "    #[serde(rename = \"contact-less\")]\n    ContactLess,",
                "    pub fee: crate::Money,",
                "    pub lines: Vec<CardPurchaseLines>,",
                "    pub extra: Option<std::collections::BTreeMap<String, i64>>,",
                "    pub fn money(&self) -> Result<crate::Money, crate::Error> {",
            ][..],
        ),
        (
            "ts",
            &[
                "/** The data of `card.purchase`. A purchase by card. */\nexport interface CardPurchase {",
                "  /** Decimal text: numbers lose digits of money. */\n  readonly amount: string;",
                "  readonly type?: string | null;",
                "export type CardPurchaseKind = \"chip\" | \"contact-less\";",
                "  readonly lines: ReadonlyArray<CardPurchaseLines>;",
                "  readonly extra?: Readonly<Record<string, number>>;",
                "  \"card.purchase\": CardPurchase;",
            ],
        ),
        (
            "python",
            &[
                "@_dataclass(frozen=True, kw_only=True)\nclass CardPurchase:",
                "    amount: str\n",
                "    merchant_name: str = _field(metadata={\"json\": \"merchantName\"})",
                "    type: str | None = None",
                "    fee: _Money\n",
                "    at: _datetime | None = None",
                "CardPurchaseKind = _Literal[\"chip\", \"contact-less\"]",
                "    def money(self) -> _Money:",
            ],
        ),
        (
            "go",
            &[
                "import \"larder\"",
                "\tAmount larder.Amount `json:\"amount\"`",
                "\tType *string `json:\"type,omitempty\"`",
                "\tTags []string `json:\"tags,omitempty\"`",
                "\tCardPurchaseKindContactLess CardPurchaseKind = \"contact-less\"",
            ],
        ),
        (
            "assemblyscript",
            &[
                "  readonly amount: string;",
                "  readonly merchantName: string;",
                "  online: bool = false;\n  hasOnline: bool = false;",
                "  readonly fee: Money;",
                "    this.kind = oneOf(json.need(\"kind\").asText(), CardPurchaseKind, \"kind\");",
                "  static of(event: Event): CardPurchase {",
            ],
        ),
        (
            "c",
            &[
                "  int64_t amount; // in hundredths",
                "  char merchant_name[161];",
                "  larder_card_purchase_kind_t kind;",
                "  bool has_type_;",
                "bool larder_read_card_purchase(const larder_list_u8_t *data, larder_card_purchase_t *to, char why[160]);",
            ],
        ),
    ] {
        let code = module(language);
        for line in lines {
            assert!(code.contains(line), "{language} has no {line:?}:\n{code}");
        }
    }
    assert_eq!(module("ts"), module("js"));
    assert_eq!(module("c"), module("zig"));
}

#[test]
fn without_schemas_there_is_a_module_without_types() {
    for language in
        [Language::Rust, Language::Ts, Language::Python, Language::Go, Language::AssemblyScript, Language::C]
    {
        for (path, text) in files(language, &BTreeMap::new()) {
            assert!(text.contains(ABOUT) && !text.contains("CardPurchase"), "{}: {text}", path.display());
        }
    }
    let own = include_str!("../../../../sdk/rust/src/events.rs");
    assert_eq!(files(Language::Rust, &BTreeMap::new())[0].1, own);
}

#[test]
fn a_module_that_is_up_to_date_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = Manifest::parse("function = { id = \"a\" }", Path::new("larder.toml")).unwrap();
    let file = folder.path().join(&write(folder.path(), &manifest).unwrap()[0]);
    let written = || std::fs::metadata(&file).unwrap().modified().unwrap();
    let before = written();
    write(folder.path(), &manifest).unwrap();
    assert_eq!(written(), before);
}
