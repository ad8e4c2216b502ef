//! Where data comes from: upstreams, and feeds with how far they are.

use askama::Template;
use axum::extract::State;
use larder_model::feeds::Feed;
use larder_model::upstreams::Upstream;
use larder_platform::upstreams;
use larder_wire::scopes::Scope;

use crate::app::App;
use crate::console::account::Answer;
use crate::console::page::{Page, ok};
use crate::console::visitor::Desk;

#[derive(Template)]
#[template(path = "sources.html")]
struct Sources {
    p: Page,
    upstreams: Vec<Upstream>,
    feeds: Vec<Feed>,
}

pub async fn page(State(app): State<App>, desk: Desk) -> Answer {
    desk.caller.may(Scope::UpstreamsRead)?;
    desk.caller.may(Scope::FeedsRead)?;
    let owner = Some(desk.caller.partner.clone());
    Ok(ok(&Sources {
        p: desk.page(&app, "sources.title"),
        upstreams: upstreams::visible(&app, &owner).await?,
        feeds: app.store.feeds(owner.as_ref()).await?,
    }))
}
