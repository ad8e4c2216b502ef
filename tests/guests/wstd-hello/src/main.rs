//! `GET /hello` of the example `hello-http` as one writes it with wstd. It shows that components of other toolchains run
//! unmodified, and what the executor of wstd costs a short call.

use wstd::http::{Body, Method, Request, Response, Result, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>> {
    let (head, _body) = request.into_parts();
    let (status, text) = match (&head.method, head.uri.path()) {
        (&Method::GET, "/hello") => (StatusCode::OK, "Hello, world!\n".to_owned()),
        (method, path) => (StatusCode::NOT_FOUND, format!("no {method} {path} here\n")),
    };
    Ok(Response::builder().status(status).header("content-type", "text/plain; charset=utf-8").body(text.into())?)
}
