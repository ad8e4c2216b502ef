//! Mistakes in projects in TypeScript and JavaScript: each is refused with its place and what to do.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use larder_tests::{Larder, Options};

use super::javascript::{has_node, new};

/// What is written into a file of the project, and what `larder build` says of it.
struct Mistake {
    file: &'static str,
    code: &'static str,
    says: &'static [&'static str],
}

const fn mistake(code: &'static str, says: &'static [&'static str]) -> Mistake {
    Mistake { file: "src/index.ts", code, says }
}

const fn mistake_in(file: &'static str, code: &'static str, says: &'static [&'static str]) -> Mistake {
    Mistake { file, code, says }
}

const IMPORT: &str = "import { Money, Response, defineFunction, fetch } from \"@larder/sdk\";";
const GOOD: &str = "export default defineFunction({ onEvent() {} });";

/// `IMPORT` is their first line.
const IN_TYPESCRIPT: [Mistake; 24] = [
    mistake(
        "export default defineFunction({ onEvent: (_, run) => run.save(Money.of(12.5, \"SEK\")) });",
        &["src/index.ts(2,", "'number' is not assignable to parameter of type 'string'"],
    ),
    mistake(
        "export default defineFunction({ onEvent: (_, run) => run.save(\"12.50\") });",
        &["src/index.ts(2,", "Money"],
    ),
    mistake(
        "const one = Money.of(\"1\", \"SEK\");\nexport default defineFunction({ onEvent: () => one + one });",
        &["src/index.ts(3,", "Operator '+' cannot be applied"],
    ),
    mistake(
        "import { readFileSync } from \"fs\";\nexport default defineFunction({ onEvent: () => readFileSync(\"x\") });",
        &["src/index.ts(2,", "'fs'"],
    ),
    mistake(
        "await Promise.resolve(1);\nexport default defineFunction({ onEvent() {} });",
        &["src/index.ts:2:", "op-level await"],
    ),
    mistake(
        "export default {};",
        &["src/index.ts: write `export default defineFunction({ onEvent(event, run) { … } })`"],
    ),
    mistake("export const x = 1;", &["index.ts", "default"]),
    mistake("export default defineFunction({ onEvent( });", &["src/index.ts(2,"]),
    mistake(
        "export default defineFunction({ onEvent: (event, run) => run.sav(event) });",
        &["src/index.ts(2,", "'sav' does not exist"],
    ),
    mistake(
        "import { Run } from \"larder\";\nexport default defineFunction({ onEvent() {} });",
        &["src/index.ts(2,", "'larder'"],
    ),
    mistake("export default defineFunction({});", &["src/index.ts(2,", "Definition"]),
    mistake(
        "export default defineFunction({ onEvent: async () => {} });",
        &["src/index.ts:2:", "onEvent is async", "remove async and await"],
    ),
    mistake(
        "export default defineFunction({ async onRequest() { return \"\"; } });",
        &["src/index.ts:2:", "onRequest is async", "remove async and await"],
    ),
    mistake(
        "const at = Date.now();\nexport default defineFunction({ onEvent: () => at });",
        &["src/index.ts:2:", "Date.now() runs when the component is built", "move it into onEvent"],
    ),
    mistake(
        "const at = new Date();\nexport default defineFunction({ onEvent: () => at });",
        &["src/index.ts:2:", "new Date() runs when the component is built"],
    ),
    mistake(
        "const seed = Math.random();\nexport default defineFunction({ onEvent: () => seed });",
        &["src/index.ts:2:", "Math.random works while a run is going on"],
    ),
    mistake(
        "const rates = fetch(\"https://a.example/\");\nexport default defineFunction({ onEvent: () => rates.text() });",
        &["src/index.ts:2:", "move it into onEvent"],
    ),
    mistake(
        "const none = Money.of(\"1,5\", \"SEK\");\nexport default defineFunction({ onEvent: () => none });",
        &["src/index.ts:2:", "decimal text"],
    ),
    mistake(
        "export default defineFunction({ onRequest: () => new Response(\"\", { status: \"200\" }) });",
        &["src/index.ts(2,", "'string' is not assignable to type 'number'"],
    ),
    mistake_in(
        "larder.toml",
        "[function]\nid = \"x\"\nname = \"x\"\nroutes = [\"/x\"]\n[build]\nlanguage = \"ts\"\n",
        &["larder.toml:4: function.routes", "has no onRequest", "add it to defineFunction"],
    ),
    mistake_in(
        "larder.toml",
        "[function]\nid = \"x\"\nname = \"x\"\n[grants]\ntransactions.SEK = { max = 500 }\n[build]\nlanguage = \"ts\"\n",
        &["larder.toml:5:", "transactions.SEK"],
    ),
    mistake_in(
        "larder.toml",
        "[function]\nid = \"x\"\nname = \"x\"\n[grants]\nfetch = true\n[build]\nlanguage = \"ts\"\n",
        &["larder.toml:5:", "unknown key grants.fetch"],
    ),
    mistake_in(
        "larder.toml",
        "[function]\nid = \"x\"\nevents = [\"a.b\"]\n[events.\"a.b\"]\nschema = { type = \"object\", properties = { n = { oneOf = [] } } }\n[build]\nlanguage = \"ts\"\n",
        &["larder.toml:5: events.a.b.schema at /properties/n/oneOf: oneOf is not supported", "describe one shape"],
    ),
    mistake_in(
        "larder.toml",
        "[function]\nid = \"x\"\nevents = [\"a.b\"]\n[events.\"a.b\"]\nschema = \"none.json\"\n[build]\nlanguage = \"ts\"\n",
        &["larder.toml:5: events.a.b.schema cannot be read: none.json: No such file"],
    ),
];

const IN_JAVASCRIPT: [Mistake; 5] = [
    mistake(
        "const key = process.env.KEY;\nexport default defineFunction({ onEvent: () => key });",
        &["src/index.js:2:", "process is not defined", "run.env"],
    ),
    mistake(
        "setTimeout(() => {}, 1);\nexport default defineFunction({ onEvent() {} });",
        &["src/index.js:2:", "setTimeout is not defined", "without waiting"],
    ),
    mistake(
        "const bytes = Buffer.from(\"a\");\nexport default defineFunction({ onEvent: () => bytes });",
        &["src/index.js:2:", "Buffer is not defined", "TextEncoder"],
    ),
    mistake("export default defineFunction({ onEvent: 1 });", &["src/index.js:2:", "onEvent is number"]),
    mistake(
        "import x from \"no-such-package\";\nexport default defineFunction({ onEvent: () => x });",
        &["src/index.js:2:", "no-such-package"],
    ),
];

async fn refused(larder: &Larder, project: &Path, source: &str, mistakes: &[Mistake]) -> Vec<String> {
    let mut wrong = Vec::new();
    for Mistake { file, code, says } in mistakes {
        let is_source = *file == "src/index.ts";
        let file = if is_source { source } else { file };
        let before = std::fs::read_to_string(project.join(file)).unwrap();
        let text = if is_source { format!("{IMPORT}\n{code}\n") } else { (*code).to_owned() };
        std::fs::write(project.join(file), text).unwrap();
        let (status, out, err) = larder.cli(project, &["build"]).await;
        std::fs::write(project.join(file), before).unwrap();
        let said = format!("{out}{err}");
        if status == 0 || !says.iter().all(|part| said.contains(part)) {
            wrong.push(format!("{code}\n→ {status}: {said}"));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_answered_with_their_place() {
    if !has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default()).await;
    let project = new(&larder, "ts").await;
    std::fs::write(project.join("src/index.ts"), format!("{IMPORT}\n{GOOD}\n")).unwrap();
    std::fs::remove_dir_all(project.join("test")).unwrap();
    let mut wrong = refused(&larder, &project, "src/index.ts", &IN_TYPESCRIPT).await;
    let project = new(&larder, "js").await;
    wrong.extend(refused(&larder, &project, "src/index.js", &IN_JAVASCRIPT).await);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Tools that are not there, or too old.
#[tokio::test(flavor = "multi_thread")]
async fn missing_tools_are_named_with_what_installs_them() {
    if !has_node() {
        return;
    }
    let larder = Larder::start_with(Options::default()).await;
    let project = new(&larder, "js").await;
    let bin = larder.scratch().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let build = async |path: &str| {
        let mut command = tokio::process::Command::new(Larder::binary());
        let output = command.arg("build").current_dir(&project).env("PATH", path).output().await.unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = build(bin.to_str().unwrap()).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("node is not installed; install node 20 or newer"), "{said}");
    for program in ["node", "npm"] {
        std::fs::write(bin.join(program), "#!/bin/sh\necho v18.20.1\n").unwrap();
        std::fs::set_permissions(bin.join(program), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let (code, said) = build(bin.to_str().unwrap()).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("node is v18.20.1, and this needs 20; install node 20 or newer"), "{said}");
    let (status, out, err) = larder.cli(&project, &["build"]).await;
    assert_eq!(status, 0, "{out}{err}");
    std::fs::remove_file(project.join("node_modules/.bin/componentize-qjs")).unwrap();
    let (status, out, err) = larder.cli(&project, &["build"]).await;
    assert_eq!(status, 2, "{out}{err}");
    assert!(err.contains("componentize-qjs is not installed here; add it: npm install --save-dev"), "{err}");
}
