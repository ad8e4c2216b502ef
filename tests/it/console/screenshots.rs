//! Pictures of ten screens with what the demo makes, for docs/console.md: `make screenshots`.

use std::process::Stdio;

use larder_tests::{Browser, guests, workspace};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// A picture's name, the console, and the links that lead to the screen from its first page.
const PICTURES: [(&str, usize, &[&str]); 10] = [
    ("today", 0, &[]),
    ("functions", 0, &["/depo/functions"]),
    ("function", 0, &["/depo/functions", "main th a[href$='/round-up']"]),
    ("run", 0, &["/depo/transactions", "main tbody a[href*='/runs/']"]),
    ("savings", 0, &["/depo/transactions"]),
    ("schedules", 0, &["/depo/schedules"]),
    ("sources", 0, &["/depo/sources"]),
    ("appearance", 0, &["/depo/look"]),
    ("installation", 1, &[]),
    ("settings-in-force", 1, &["/meta_depo/settings"]),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "writes docs/pictures: make screenshots"]
async fn ten_screens() {
    let folder = workspace().join("docs/pictures");
    std::fs::create_dir_all(&folder).expect("a folder");
    let mut demo = Command::new(guests::target_folder().join("debug/demo"))
        .args(["--keep", "--listen", "127.0.0.1:0", "--internal", "127.0.0.1:0"])
        .current_dir(workspace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the demo was built");
    let mut lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
    let mut links = Vec::new();
    while links.len() < 2 {
        let line = lines.next_line().await.expect("text").expect("the demo goes on");
        let link = ["console", "operator"].iter().find_map(|name| line.trim().strip_prefix(name));
        links.extend(link.and_then(|link| link.split_whitespace().next()).map(str::to_owned));
    }
    let mut browser = Browser::start().await;
    browser.look(1_000, false).await;
    let mut signed_in = usize::MAX;
    for (name, console, way) in PICTURES {
        let base = ["/depo", "/meta_depo"][console];
        let shown = "document.readyState === 'complete' && document.querySelector('nav.ways')";
        if signed_in != console {
            browser.go(&links[console]).await;
            browser.until("document.querySelector('main form button')").await;
            browser.ask("document.querySelector('main form button').click(); 0").await;
            browser.until(&format!("location.pathname === '{base}' && {shown}")).await;
            signed_in = console;
        }
        for step in way.iter().chain(way.is_empty().then_some(&base)) {
            let to = match step.starts_with('/') {
                true => format!("location.origin + '{step}'"),
                false => format!("document.querySelector({step:?}).href"),
            };
            let to = browser.ask(&to).await;
            browser.go(to.as_str().expect("an address")).await;
            browser.until(shown).await;
        }
        browser.picture(&folder.join(format!("{name}.png"))).await;
    }
    browser.close().await;
}
