//! The consoles: people sign in, see and decide, with HTML and forms alone.

mod accessible;
mod attacks;
mod browser;
mod explained;
mod export;
mod journeys;
mod live;
mod mails;
mod oidc;
mod pages;
mod roles;
mod screenshots;
mod second_factor;
mod signing_in;
mod table;

use larder_tests::{Larder, Tab};
use serde_json::{Value, json};

/// The consoles' hosts and doors.
const DEPO: (&str, &str) = ("demo.localhost", "/depo");
const META: (&str, &str) = ("localhost", "/meta_depo");

fn of(partner: &str) -> Value {
    json!([{ "partnerId": partner, "role": "administrator" }])
}

/// A tab in which somebody made for it has signed in at the console of `demo`.
async fn signed_in(larder: &Larder, email: &str) -> Tab {
    larder.administrator(email, of("demo")).await;
    let mut tab = Tab::at(larder, DEPO.0);
    assert_eq!(tab.sign_in(DEPO.1, email, larder_tests::PASSWORD, "").await.is(200).heading(), "Today");
    tab
}

/// The link to a console that `larder dev` has printed.
fn printed(larder: &Larder, name: &str) -> String {
    let said = std::fs::read_to_string(larder.data().join("stdout.log")).expect("what it said");
    let line = said.lines().find_map(|line| line.trim().strip_prefix(name)).expect("a link");
    path(line.split_whitespace().next().expect("an address"))
}

/// The path of an address, with its query.
fn path(url: &str) -> String {
    let (_, rest) = url.split_once("://").expect("an address");
    format!("/{}", rest.split_once('/').expect("a path").1)
}
