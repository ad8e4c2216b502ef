//! `.tar.gz` uploads: the component is found in them, they come back as they were sent, and hostile ones are refused by name.

use larder_tests::archives::{entry, entry_of_size, extended, file, gzip, tar, tar_gz};
use larder_tests::{Api, Larder, Options, both, guests};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tar::EntryType;

/// Uploads a file of this name to the function `f`.
async fn send(api: &Api, name: &str, bytes: &[u8], entrypoint: &str) -> Value {
    let mut form = Form::new();
    if !entrypoint.is_empty() {
        form = form.text("entrypoint", entrypoint.to_owned());
    }
    // `activate` comes behind the file, as the clients send it.
    let file = Part::bytes(bytes.to_vec()).file_name(name.to_owned());
    let form = form.part("code", file).text("activate", "true");
    Api::send(api.request(Method::POST, "/functions/f/deployments").multipart(form)).await.is(202)
}

async fn build(api: &Api, name: &str, bytes: &[u8], entrypoint: &str) -> Value {
    let begun = send(api, name, bytes, entrypoint).await;
    api.built("f", &begun).await
}

fn path(deployment: &Value) -> String {
    format!("/functions/f/deployments/{}", deployment["$id"].as_str().expect("an id"))
}

/// Content type, file name and bytes.
async fn download(api: &Api, deployment: &Value, of: &str) -> (String, String, Vec<u8>) {
    let request = api.request(Method::GET, &format!("{}/download?type={of}", path(deployment)));
    let answer = request.send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
    let (kind, name) = (header("content-type"), header("content-disposition"));
    (kind, name, answer.bytes().await.expect("a body").to_vec())
}

both!(the_component_of_an_archive_runs_and_the_archive_comes_back, async |on| {
    let mut larder = Larder::start_with(Options::on(on).fresh()).await;
    let api = larder.api();
    api.create_function("f", json!({ "routes": ["/hello"], "commands": "npm run build" })).await.is(201);
    // The other one differs in a section of its own.
    let hello = guests::guest("hello-http");
    let other = [&hello[..], &[0, 3, 1, b'n', 1]].concat();

    // As the command line packs a folder: the entrypoint among other files, and names that begin with `./`.
    let archive = tar_gz(&[
        ("./README.md", b"# A function"),
        ("./other/app.wasm", &other),
        ("./dist/app.wasm", &hello),
        ("./package.json", b"{}"),
    ]);
    let first = build(&api, "code.tar.gz", &archive, "dist/app.wasm").await;
    let logs = first["buildLogs"].as_str().expect("logs");
    assert_eq!(first["status"], "ready", "{logs}");
    assert!(logs.contains("4 files") && logs.contains("\"dist/app.wasm\"") && logs.contains("commands"), "{logs}");
    assert_eq!((&first["sourceSize"], &first["entrypoint"]), (&json!(archive.len()), &json!("dist/app.wasm")));
    let answer = larder.web("demo", Method::GET, "/hello?name=Anna").send().await.expect("an answer");
    assert!(answer.text().await.expect("a body").contains("Anna"));
    let id = first["$id"].as_str().expect("an id");
    let (kind, name, bytes) = download(&api, &first, "source").await;
    assert_eq!((kind.as_str(), bytes == archive), ("application/gzip", true));
    assert!(name.contains(&format!("{id}-source.tar.gz")), "{name}");
    let (kind, name, bytes) = download(&api, &first, "output").await;
    assert_eq!((kind.as_str(), bytes == hello), ("application/wasm", true));
    assert!(name.contains(&format!("{id}-output.wasm")), "{name}");

    // The only component needs no entrypoint, nor one that is true.
    for (name, entrypoint, expected) in [
        ("code.tgz", "", "a/b/only.wasm"),
        ("code.gz", "src/main.js", "src/main.js"),
        ("CODE.TAR.GZ", "", "a/b/only.wasm"),
    ] {
        let only = tar(&[
            entry(EntryType::XGlobalHeader, b"comment", b""),
            entry(EntryType::Directory, b"a/b/", b""),
            file("a/b/only.wasm", &hello),
            file("a/readme.txt", b"text"),
        ]);
        let built = build(&api, name, &gzip(&only), entrypoint).await;
        assert_eq!((&built["status"], &built["entrypoint"]), (&json!("ready"), &json!(expected)), "{built:#}");
    }

    // Long names, as either kind of packer writes them, and more than one member of gzip.
    let long = format!("{}/app.wasm", "folder-with-a-name/".repeat(12));
    for before in [
        entry(EntryType::GNULongName, b"././@LongLink", format!("{long}\0").as_bytes()),
        extended(&[("mtime", "1.5"), ("path", &long)]),
    ] {
        let whole = tar(&[before, file("short", &hello), file("other.wasm", &other)]);
        let (head, tail) = whole.split_at(whole.len() / 2);
        let built = build(&api, "code.tar.gz", &[gzip(head), gzip(tail)].concat(), &long).await;
        assert_eq!(built["status"], "ready", "{built:#}");
    }

    // A duplicate is built from the archive, with the function's present entrypoint.
    api.put("/functions/f", json!({ "name": "f", "entrypoint": "other/app.wasm", "routes": ["/hello"] })).await.is(200);
    let body = json!({ "deploymentId": first["$id"] });
    let begun = api.post("/functions/f/deployments/duplicate", body).await.is(202);
    let second = api.built("f", &begun).await;
    assert_eq!((&second["status"], &second["entrypoint"]), (&json!("ready"), &json!("other/app.wasm")), "{second:#}");
    assert_eq!(download(&api, &second, "source").await.2, archive);
    assert_eq!(download(&api, &second, "output").await.2, other);
    api.delete(&path(&first)).await;
    assert_eq!(download(&api, &second, "source").await.2, archive);

    // What runs is found again when the artifacts are lost.
    let begun = api.post("/functions/f/deployments/duplicate", json!({ "deploymentId": second["$id"] })).await.is(202);
    assert_eq!(api.built("f", &begun).await["status"], "ready");
    let third = build(&api, "code.tar.gz", &archive, "dist/app.wasm").await;
    larder.kill();
    std::fs::remove_dir_all(larder.data().join("artifacts")).expect("a folder");
    larder.restart().await;
    let answer = larder.web("demo", Method::GET, "/hello?name=Bo").send().await.expect("an answer");
    assert!(answer.text().await.expect("a body").contains("Bo"));
    assert_eq!(download(&larder.api(), &third, "output").await.2, hello);
});

both!(hostile_archives_are_refused_by_name, async |on| {
    let options = Options::on(on).set("LARDER_BUILD__UPLOAD_BYTES_MAX", "3000000");
    let larder = Larder::start_with(options.set("LARDER_BUILD__UNPACKED_BYTES_MAX", "40000000")).await;
    let api = larder.api();
    api.create_function("f", json!({})).await.is(201);
    let hello = guests::guest("hello-http");
    let with = |entries: &[Vec<u8>]| gzip(&tar(&[entries, &[file("app.wasm", &hello)]].concat()));
    let link = |kind| entry(kind, b"app/link", b"");
    let zeroes = |bytes| file("zeroes.bin", &vec![0; bytes]);
    // Does not compress to a hundredth.
    let noise: Vec<u8> = (0..9_000_000u32)
        .map(|at| if at % 24 == 0 { (at.wrapping_mul(2_654_435_761) >> 13) as u8 } else { 7 })
        .collect();
    let good = with(&[]);
    let mut damaged = good.clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    let mut unsigned = tar(&[file("app.wasm", &hello)]);
    unsigned[0] ^= 1;
    let many: Vec<Vec<u8>> = (0..10_001).map(|at| file(&format!("f{at}"), b"")).collect();
    let cases: Vec<(&str, Vec<u8>, &str, &[&str])> = vec![
        ("parent", with(&[file("../app.wasm", b"x")]), "", &["\"../app.wasm\"", "`..`"]),
        ("parent within", with(&[file("a/../../b", b"x")]), "", &["\"a/../../b\"", "`..`"]),
        ("parent of another system", with(&[file("a\\..\\..\\b", b"x")]), "", &["`..`"]),
        ("parent by attributes", with(&[extended(&[("path", "../x")]), file("x", b"x")]), "", &["\"../x\"", "`..`"]),
        (
            "parent by a long name",
            with(&[entry(EntryType::GNULongName, b"l", b"../y\0"), file("y", b"x")]),
            "",
            &["\"../y\""],
        ),
        ("folder of a parent", with(&[entry(EntryType::Directory, b"../up/", b"")]), "", &["\"../up/\"", "`..`"]),
        ("absolute", with(&[file("/etc/passwd", b"x")]), "", &["\"/etc/passwd\"", "absolute"]),
        ("absolute elsewhere", with(&[file("C:evil", b"x")]), "", &["\"C:evil\"", "absolute"]),
        ("absolute share", with(&[file("\\\\host\\share", b"x")]), "", &["absolute"]),
        ("control characters", with(&[file("a\x1b[2Jb", b"x")]), "", &["control characters"]),
        ("not UTF-8", with(&[entry(EntryType::Regular, b"\xff\xfe", b"x")]), "", &["UTF-8"]),
        ("symbolic link", with(&[link(EntryType::Symlink)]), "", &["\"app/link\"", "symbolic link"]),
        ("hard link", with(&[link(EntryType::Link)]), "", &["\"app/link\"", "hard link"]),
        ("character device", with(&[link(EntryType::Char)]), "", &["\"app/link\"", "device"]),
        ("block device", with(&[link(EntryType::Block)]), "", &["\"app/link\"", "device"]),
        ("pipe", with(&[link(EntryType::Fifo)]), "", &["\"app/link\"", "named pipe"]),
        ("sparse file", with(&[link(EntryType::GNUSparse)]), "", &["\"app/link\"", "sparse"]),
        ("unknown kind", with(&[link(EntryType::new(b'Z'))]), "", &["\"app/link\"", "unknown kind"]),
        ("too many entries", with(&many), "", &["10000 entries"]),
        ("too deep", with(&[file(&"a/".repeat(33), b"x")]), "", &["deeper than 32"]),
        ("name too long", with(&[extended(&[("path", &"n".repeat(1_025))]), file("x", b"x")]), "", &["1024 bytes"]),
        ("long name too long", with(&[entry(EntryType::GNULongName, b"l", &[b'n'; 1_025])]), "", &["1024 bytes"]),
        ("attributes too large", with(&[extended(&[("comment", &"n".repeat(70_000))])]), "", &["65536 bytes"]),
        ("size by attributes", with(&[extended(&[("size", "1")]), file("x", b"x")]), "", &["size"]),
        ("bomb", with(&[zeroes(30_000_000)]), "", &["100 times", "bomb"]),
        ("bomb in a bomb", gzip(&with(&[zeroes(30_000_000)])), "", &["broken"]),
        ("bomb behind the end", gzip(&[tar(&[file("app.wasm", &hello)]), vec![0; 30_000_000]].concat()), "", &["bomb"]),
        (
            "large for its bound",
            with(&[file("a", &noise), file("b", &noise), file("c", &noise), file("d", &noise), file("e", &noise)]),
            "",
            &["40000000 bytes", "build.unpacked_bytes_max"],
        ),
        ("a size beyond its content", with(&[entry_of_size(EntryType::Regular, b"x", b"x", 1 << 40)]), "", &["broken"]),
        (
            "component too large",
            gzip(&tar(&[file("big.wasm", &noise[..3_000_001])])),
            "",
            &["\"big.wasm\"", "3000000 bytes"],
        ),
        ("cut off", good[..good.len() / 2].to_vec(), "", &["broken"]),
        ("damaged", damaged, "", &["broken"]),
        ("header without its sum", gzip(&unsigned), "", &["broken"]),
        ("gzip of something else", gzip(b"hello, this is text"), "", &["broken"]),
        ("nothing in it", gzip(&tar(&[])), "", &["none of its 0 files", ".wasm"]),
        ("no component", tar_gz(&[("src/main.js", b"x"), ("package.json", b"{}")]), "", &["2 files", ".wasm"]),
        ("component of text", tar_gz(&[("src/main.js", b"text")]), "src/main.js", &["not WebAssembly"]),
        (
            "two components",
            tar_gz(&[("a.wasm", &hello), ("b.wasm", &hello)]),
            "c.wasm",
            &["\"c.wasm\"", "a.wasm, b.wasm"],
        ),
        ("two components, none named", tar_gz(&[("a.wasm", &hello), ("b.wasm", &hello)]), "", &["a.wasm, b.wasm"]),
        ("entrypoint twice", tar_gz(&[("a.wasm", &hello), ("./a.wasm", &hello)]), "a.wasm", &["twice"]),
        ("entrypoint outside", good.clone(), "../app.wasm", &["the entrypoint \"../app.wasm\"", "`..`"]),
        ("absolute entrypoint", good.clone(), "/app.wasm", &["the entrypoint \"/app.wasm\"", "absolute"]),
        ("component under the name of an archive", hello.clone(), "", &["not gzip", ".wasm"]),
        ("text under the name of an archive", b"text".to_vec(), "", &["not gzip"]),
        ("core module", tar_gz(&[("a.wasm", &guests::wat("(module)"))]), "", &["core WebAssembly module"]),
    ];
    for (what, archive, entrypoint, says) in cases {
        let built = build(&api, "code.tar.gz", &archive, entrypoint).await;
        let logs = built["buildLogs"].as_str().expect("logs");
        assert_eq!(built["status"], "failed", "{what}: {logs}");
        assert!(says.iter().all(|part| logs.contains(part)), "{what}: {says:?} is not in {logs}");
        assert!(logs.len() < 4_000, "{what}: {} bytes", logs.len());
        api.get(&format!("{}/download?type=output", path(&built))).await.is_error(400, "build_not_ready");
        api.delete(&path(&built)).await;
    }
    let built = build(&api, "code.wasm", &good, "").await;
    let logs = built["buildLogs"].as_str().expect("logs");
    assert!(built["status"] == "failed" && logs.contains("gzip") && logs.contains(".tar.gz"), "{logs}");
    assert_eq!(build(&api, "code.tar.gz", &good, "").await["status"], "ready");
    assert!(!larder.log().contains("panicked"), "{}", larder.log());
});
