//! A web page on which an end user sees their savings, and joins, pauses and leaves savehacks. The page itself is public; what it
//! shows it reads from `/_larder/me` of the same host, with the end user's token.
//!
//! * `GET /app/` is the page, and `/app/app.js` and `/app/app.css` are its files. All are within the component.
//! * The variable `SIGN_IN_URL` says where people sign in.

use larder_sdk::prelude::*;
use larder_sdk::serve::{Request, Response};

/// Nothing but the page's own files and its own host.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";
const PAGE: &str = include_str!("../static/index.html");
const SCRIPT: &str = include_str!("../static/app.js");
const STYLE: &str = include_str!("../static/app.css");

fn app(request: &Request, _run: &mut Run) -> Result<Response, Error> {
    if !matches!(request.method(), "GET" | "HEAD") {
        return Ok(Response::text("only GET is possible here\n").status(405).header("allow", "GET, HEAD"));
    }
    let sign_in = std::env::var("SIGN_IN_URL").unwrap_or_default();
    Ok(match request.path() {
        // Its files are beside it, which a browser finds only behind the slash.
        "/app" => Response::new(308).header("location", "/app/"),
        "/app/" => file("text/html; charset=utf-8", PAGE.replace("{{sign-in}}", &escaped(&sign_in))),
        "/app/app.js" => file("text/javascript; charset=utf-8", SCRIPT),
        "/app/app.css" => file("text/css; charset=utf-8", STYLE),
        _ => Response::text("there is no such page\n").status(404),
    })
}

larder_sdk::http!(app);

fn file(media_type: &'static str, text: impl Into<std::borrow::Cow<'static, str>>) -> Response {
    Response::text(text)
        .header("content-type", media_type)
        .header("content-security-policy", POLICY)
        .header("x-content-type-options", "nosniff")
        .header("referrer-policy", "no-referrer")
        .header("cache-control", "no-cache")
}

/// As the value of an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use larder_sdk::testing::TestRun;

    use super::*;

    fn get(path: &str) -> Response {
        TestRun::new().serve(app, Request::new("GET", path)).result.unwrap()
    }

    #[test]
    fn serves_the_page_and_its_files_and_nothing_else() {
        for (path, status, text) in [
            ("/app", 308, ""),
            ("/app/", 200, "<title>Your savings</title>"),
            ("/app/app.js", 200, "/_larder/me"),
            ("/app/app.css", 200, "prefers-color-scheme"),
            ("/app/other", 404, "no such page"),
        ] {
            let response = get(path);
            assert_eq!(response.code(), status, "{path}");
            assert!(String::from_utf8_lossy(response.bytes()).contains(text), "{path}");
        }
    }

    #[test]
    fn the_page_has_nothing_inline() {
        let page = String::from_utf8_lossy(get("/app/").bytes()).into_owned();
        for inline in ["<script>", "<style", " style=", " onclick", "javascript:", "{{"] {
            assert!(!page.contains(inline), "{inline}");
        }
    }

    #[test]
    fn the_address_of_the_sign_in_is_text() {
        assert_eq!(
            escaped(r#"https://id.example/?a=1&b="><script>"#),
            "https://id.example/?a=1&amp;b=&quot;>&lt;script>"
        );
    }
}
