//! What is answered instead of the page that was asked for.

use std::sync::Arc;

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use super::page::{Page, redirect, render};
use super::visitor::Visitor;
use crate::app::App;
use crate::problem::Problem;

#[derive(Debug)]
pub enum Failure {
    Problem(Problem),
    /// Nobody has signed in here.
    SignIn,
    /// Their role needs a second factor first.
    SecondFactor,
    /// The form is of another session, or of none.
    OldForm,
    /// The form was not sent from a page of this console.
    OtherOrigin,
    /// Somebody could read along.
    NoTls,
}

impl<E: Into<Problem>> From<E> for Failure {
    fn from(err: E) -> Failure {
        Failure::Problem(err.into())
    }
}

/// Without the console around it: [`super::serve`] makes the page.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    p: Page,
    message: &'a str,
}

/// A link by which the browser sends what it has left out.
#[derive(Template)]
#[template(path = "led.html")]
struct LedPage<'a> {
    p: Page,
    target: &'a str,
}

fn forbidden(p: Page, text: &str) -> Response {
    let message = p.t(text);
    render(StatusCode::FORBIDDEN, &ErrorPage { p, message })
}

impl Failure {
    /// A page with a link by which the browser sends what it has left out.
    pub fn led(app: &App, visitor: &Visitor, target: &str) -> Response {
        render(StatusCode::OK, &LedPage { p: Page::new(app, visitor, "led.title"), target })
    }

    pub fn page(&self, app: &App, visitor: &Visitor) -> Response {
        let page = |title| Page::new(app, visitor, title);
        match self {
            Failure::SignIn if visitor.is_led => Failure::led(app, visitor, &visitor.target),
            Failure::SignIn => {
                let next: String = form_urlencoded::byte_serialize(visitor.target.as_bytes()).collect();
                redirect(&visitor.at(&format!("/sign-in?next={next}")))
            }
            Failure::SecondFactor => redirect(&visitor.at("/second-factor")),
            Failure::OldForm => forbidden(page("error.old_form"), "error.old_form.text"),
            Failure::OtherOrigin => forbidden(page("error.refused"), "error.other_origin"),
            Failure::NoTls => forbidden(page("error.refused"), "error.no_tls"),
            Failure::Problem(problem) => {
                let title = if problem.status() == StatusCode::NOT_FOUND { "error.not_found" } else { "error.refused" };
                // They have signed in: 401, which the API's wire format has for a missing scope, would ask a browser to do so again.
                let status = match problem.status() {
                    StatusCode::UNAUTHORIZED => StatusCode::FORBIDDEN,
                    status => status,
                };
                let mut response = render(status, &ErrorPage { p: page(title), message: &problem.message });
                if let Some(seconds) = problem.retry_after_s {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                response
            }
        }
    }
}
