//! What an upload's imports need that is not granted, with the lines to add.

use std::fmt::Write;

use larder_runtime::Grants;

use crate::ids::FunctionId;

/// An interface, whether the grants reach what it is for at all, and the line that asks for it.
type Need = (&'static str, fn(&Grants) -> bool, &'static str);

/// Imports of ours that reach something.
const NEEDS: [Need; 4] = [
    (
        "savings",
        |grants| !grants.transactions.is_empty(),
        "transactions.SEK = { max = \"500.00\", sum = \"1000.00\", period = \"day\" }   # each; and for one end user",
    ),
    ("state", |grants| grants.state, "state = true"),
    ("events", |grants| !grants.events.is_empty(), "events = [\"FUNCTION.*\"]   # types of what it emits"),
    ("signing", |grants| !grants.upstreams.is_empty(), "upstreams = [\"NAME\"]   # whose key signs"),
];

/// Why an upload with these imports cannot run under these grants, and the way out; `None` if it can.
pub fn missing(imports: &[String], grants: &Grants, function: &FunctionId) -> Option<String> {
    let imports = |name: &str| imports.iter().any(|import| import.starts_with(&format!("larder:function/{name}@")));
    let missing: Vec<_> = NEEDS.iter().filter(|(name, granted, _)| imports(name) && !granted(grants)).collect();
    if missing.is_empty() {
        return None;
    }
    let names: Vec<String> = missing.iter().map(|(name, ..)| format!("larder:function/{name}")).collect();
    let mut text = format!(
        "error: it imports {}, and has no grant for that. Ask for it in larder.toml:\n\n[grants]\n",
        names.join(", ")
    );
    for (.., line) in missing {
        let _ = writeln!(text, "{}", line.replace("FUNCTION", function.as_str()));
    }
    let _ = writeln!(
        text,
        "\nor have it granted with `larder grants set {function}` (PUT /v1/functions/{function}/grants), and upload again"
    );
    Some(text)
}

/// Can it send requests?
pub fn calls_out(imports: &[String]) -> bool {
    imports.iter().any(|import| import.starts_with("wasi:http/outgoing-handler@"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_those_that_are_missing() {
        let function: FunctionId = "round-up".parse().unwrap();
        let imports =
            ["larder:function/savings@0.1.0", "larder:function/state@0.1.0", "larder:function/enrolment@0.1.0"];
        let imports: Vec<String> = imports.map(Into::into).into();
        let text = missing(&imports, &Grants { state: true, ..Grants::default() }, &function).unwrap();
        assert!(text.contains("[grants]\ntransactions.SEK = { max"), "{text}");
        assert!(!text.contains("state = true") && text.contains("larder grants set round-up"), "{text}");
        let both = missing(&imports, &Grants::default(), &function).unwrap();
        assert!(both.contains("period = \"day\" }   # each; and for one end user\nstate = true\n"), "{both}");
        assert_eq!(missing(&imports[2..], &Grants::default(), &function), None);
    }
}
