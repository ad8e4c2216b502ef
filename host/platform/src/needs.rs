//! Grants that an upload's imports need and lack, with the manifest lines to add.

use std::fmt::Write;

use larder_model::Grants;
use larder_model::ids::FunctionId;
use larder_runtime::Found;

/// An interface, a check whether any grant makes it usable, and the manifest line that requests it.
type Need = (&'static str, fn(&Grants) -> bool, &'static str);

/// Larder's interfaces that need a grant.
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

/// Why this upload cannot run under these grants, and what to do; `None` if it can.
pub fn missing(found: &Found, grants: &Grants, function: &FunctionId) -> Option<String> {
    let imports =
        |name: &str| found.imports.iter().any(|import| import.starts_with(&format!("larder:function/{name}@")));
    let missing: Vec<_> = NEEDS.iter().filter(|(name, granted, _)| imports(name) && !granted(grants)).collect();
    if missing.is_empty() {
        return None;
    }
    let named = |names: &[&Need]| interfaces(&names.iter().map(|(name, ..)| *name).collect::<Vec<_>>());
    let mut text = format!("it imports {}, and has no grant for that.\n", named(&missing));
    let (uncalled, called): (Vec<_>, Vec<_>) =
        missing.iter().copied().partition(|(name, ..)| found.uncalled.contains(name));
    if !uncalled.is_empty() {
        let _ = writeln!(
            text,
            "\nNothing in it calls {}: build it for a world without, and it needs no grant for that.",
            named(&uncalled)
        );
    }
    if found.toolchain.imports_all() {
        let _ = writeln!(
            text,
            "\n{} imports all of the world that it builds for, called or not. Build for a world that imports only what the \
             code calls; sdk/README.md shows one:\n\n    world app {{\n        {}export larder:function/handler@0.1.0;\n    }}",
            found.toolchain.name(),
            NEEDS.iter().filter(|(_, granted, _)| granted(grants)).fold(String::new(), |mut text, (name, ..)| {
                let _ = write!(text, "import larder:function/{name}@0.1.0;\n        ");
                text
            }),
        );
    }
    if !called.is_empty() {
        let _ = write!(text, "\nWhat it calls is asked for in larder.toml:\n\n[grants]\n");
        for (.., line) in called {
            let _ = writeln!(text, "{}", line.replace("FUNCTION", function.as_str()));
        }
        let _ = write!(
            text,
            "\nor granted with `larder grants set {function}` (PUT /v1/functions/{function}/grants) before it is uploaded again"
        );
    }
    Some(text.trim_end().to_owned())
}

/// The full names of Larder's interfaces.
pub fn interfaces(names: &[&str]) -> String {
    names.iter().map(|name| format!("larder:function/{name}")).collect::<Vec<_>>().join(", ")
}

/// Can a component with these imports send requests?
pub fn calls_out(imports: &[String]) -> bool {
    imports.iter().any(|import| import.starts_with("wasi:http/outgoing-handler@"))
}

#[cfg(test)]
mod tests {
    use larder_model::Exports;
    use larder_runtime::toolchain::Toolchain;

    use super::*;

    fn found(imports: &[&str], toolchain: Toolchain, uncalled: &[&'static str]) -> Found {
        Found {
            imports: imports.iter().map(|name| format!("larder:function/{name}@0.1.0")).collect(),
            exports: Exports { handler: true, ..Exports::default() },
            is_module: false,
            shares_no_memory: false,
            toolchain,
            uncalled: uncalled.to_vec(),
        }
    }

    #[test]
    fn only_missing_grants_are_listed() {
        let function: FunctionId = "round-up".parse().unwrap();
        let all = found(&["savings", "state", "enrolment", "attributes"], Toolchain::Rust, &[]);
        let text = missing(&all, &Grants { state: true, ..Grants::default() }, &function).unwrap();
        assert!(text.contains("[grants]\ntransactions.SEK = { max"), "{text}");
        assert!(!text.contains("state = true") && text.contains("larder grants set round-up"), "{text}");
        assert!(!text.contains("imports all"), "{text}");
        let both = missing(&all, &Grants::default(), &function).unwrap();
        assert!(both.contains("period = \"day\" }   # each; and for one end user\nstate = true\n"), "{both}");
        let needs_none = found(&["enrolment", "attributes"], Toolchain::Rust, &[]);
        assert_eq!(missing(&needs_none, &Grants::default(), &function), None);
    }

    #[test]
    fn uncalled_imports_are_not_requested() {
        let function: FunctionId = "f".parse().unwrap();
        let text =
            missing(&found(&["state", "events"], Toolchain::Unknown, &["events"]), &Grants::default(), &function);
        let text = text.unwrap();
        assert!(text.contains("Nothing in it calls larder:function/events:"), "{text}");
        assert!(text.contains("state = true") && !text.contains("events = ["), "{text}");
        let none =
            missing(&found(&["events"], Toolchain::Unknown, &["events"]), &Grants::default(), &function).unwrap();
        assert!(!none.contains("[grants]"), "{none}");
        // For these toolchains, it is not visible what the code calls.
        let granted = Grants { state: true, ..Grants::default() };
        let python = missing(&found(&["state", "events"], Toolchain::Python, &[]), &granted, &function).unwrap();
        assert!(python.contains("componentize-py (Python) imports all of the world"), "{python}");
        assert!(python.contains("import larder:function/state@0.1.0;\n        export"), "{python}");
    }
}
