//! A tab of a browser without script: it goes to pages, sends their forms, and keeps cookies.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Method, RequestBuilder};

use crate::Larder;

pub struct Tab {
    address: String,
    host: String,
    pub cookies: BTreeMap<String, String>,
    /// What it sends beside what every browser does.
    pub more: Vec<(&'static str, String)>,
}

/// A page as it was answered.
#[derive(Debug, Clone)]
pub struct Shown {
    pub path: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub html: String,
}

/// A tag of a page with its attributes, in the order of the page.
#[derive(Debug, Clone)]
pub struct Tag {
    pub name: String,
    pub attributes: BTreeMap<String, String>,
    /// The text up to the next tag.
    pub text: String,
}

fn http() -> &'static reqwest::Client {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        let none = reqwest::redirect::Policy::none();
        let builder = reqwest::Client::builder().pool_max_idle_per_host(0).redirect(none);
        crate::api::http();
        builder.timeout(Duration::from_secs(60)).build().expect("a client")
    })
}

impl Tab {
    /// At a host that a Larder serves.
    pub fn at(larder: &Larder, host: &str) -> Tab {
        Tab { address: larder.address(), host: host.into(), cookies: BTreeMap::new(), more: vec![] }
    }

    /// A request as this tab would send it, without saying that somebody navigates.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = http().request(method, format!("http://{}{path}", self.address)).header("host", &self.host);
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", cookies.join("; "));
        }
        self.more.iter().fold(request, |request, (name, value)| request.header(*name, value))
    }

    fn navigation(&self, method: Method, path: &str, site: &str) -> RequestBuilder {
        let request = self.request(method, path).header("sec-fetch-site", site);
        request.header("sec-fetch-mode", "navigate").header("sec-fetch-dest", "document")
    }

    /// Sends a request and keeps the cookies of its answer.
    pub async fn send(&mut self, path: &str, request: RequestBuilder) -> Shown {
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        for cookie in headers.get_all(SET_COOKIE) {
            let cookie = cookie.to_str().expect("text");
            let (name, value) = cookie.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            if value.is_empty() || cookie.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.into(), value.into());
            }
        }
        Shown { path: path.into(), status, headers, html: answer.text().await.expect("text") }
    }

    /// Goes somewhere, and on to where it is sent.
    pub async fn go(&mut self, path: &str) -> Shown {
        let shown = self.go_once(path).await;
        self.follow(shown).await
    }

    pub async fn go_once(&mut self, path: &str) -> Shown {
        let request = self.navigation(Method::GET, path, "none");
        self.send(path, request).await
    }

    async fn follow(&mut self, mut shown: Shown) -> Shown {
        for _ in 0..5 {
            let Some(to) = shown.headers.get(LOCATION) else { return shown };
            let to = to.to_str().expect("text").to_owned();
            shown = self.go_once(&to).await;
        }
        panic!("it is sent on and on: {shown:?}");
    }

    /// Fills the form of a page that is sent to `action`, and goes where that leads.
    pub async fn submit(&mut self, shown: &Shown, action: &str, fields: &[(&str, &str)]) -> Shown {
        let shown = self.submit_once(shown, action, fields).await;
        self.follow(shown).await
    }

    pub async fn submit_once(&mut self, shown: &Shown, action: &str, fields: &[(&str, &str)]) -> Shown {
        let mut all = shown.hidden(action);
        all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.post(action, &all, "same-origin").await
    }

    /// Sends a form that was made by hand, from a page of this or another site.
    pub async fn post(&mut self, action: &str, fields: &[(String, String)], site: &str) -> Shown {
        let request = self.navigation(Method::POST, action, site).header("origin", "null");
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(encoded(fields));
        self.send(action, request).await
    }

    /// Signs in with a password and, if there is one, the code of a second factor.
    pub async fn sign_in(&mut self, base: &str, email: &str, password: &str, code: &str) -> Shown {
        let page = self.go(&format!("{base}/sign-in")).await;
        let fields = [("email", email), ("password", password), ("code", code)];
        self.submit(&page, &format!("{base}/sign-in"), &fields).await
    }
}

fn encoded(fields: &[(String, String)]) -> String {
    let encode = |text: &str| {
        let byte = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        };
        text.bytes().map(byte).collect::<String>()
    };
    fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>().join("&")
}

impl Shown {
    #[track_caller]
    pub fn is(self, status: u16) -> Shown {
        assert_eq!(self.status, status, "{}: {}", self.path, self.html);
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Shown {
        assert!(self.html.contains(text), "{} does not say {text:?}: {}", self.path, self.html);
        self
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The heading.
    pub fn heading(&self) -> String {
        self.tags().into_iter().find(|tag| tag.name == "h1").map(|tag| tag.text).unwrap_or_default()
    }

    /// Its tags that open something. Attributes stand in quotes, as the templates write them.
    pub fn tags(&self) -> Vec<Tag> {
        let mut found = Vec::new();
        let mut rest = self.html.as_str();
        while let Some((_, after)) = rest.split_once('<') {
            let name: String = after.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
            let mut inside = &after[name.len()..];
            let mut attributes = BTreeMap::new();
            loop {
                inside = inside.trim_start_matches([' ', '\n', '/', '!']);
                if inside.is_empty() || inside.starts_with('>') {
                    break;
                }
                let end = inside.find(['=', ' ', '>', '\n']).unwrap_or(inside.len());
                let attribute = inside[..end].to_ascii_lowercase();
                inside = &inside[end..];
                let value = match inside.strip_prefix("=\"") {
                    Some(quoted) => {
                        let (value, after) = quoted.split_once('"').expect("a quote");
                        inside = after;
                        unescaped(value)
                    }
                    None => String::new(),
                };
                if end == 0 {
                    inside = &inside[1..];
                } else {
                    attributes.insert(attribute, value);
                }
            }
            let text = inside.strip_prefix('>').unwrap_or_default().split('<').next().unwrap_or_default();
            if !name.is_empty() {
                found.push(Tag { name: name.to_ascii_lowercase(), attributes, text: unescaped(text.trim()) });
            }
            rest = inside;
        }
        found
    }

    /// The hidden fields of the form that is sent to `action`.
    fn hidden(&self, action: &str) -> Vec<(String, String)> {
        let tags = self.tags();
        let is_form = |tag: &Tag| tag.name == "form" && tag.attributes.get("action").is_some_and(|to| to == action);
        let at = tags.iter().position(is_form);
        let at = at.unwrap_or_else(|| panic!("{} has no form for {action}: {}", self.path, self.html));
        let own = tags[at + 1..].iter().take_while(|tag| tag.name != "form");
        let hidden = own.filter(|tag| tag.attributes.get("type").is_some_and(|kind| kind == "hidden"));
        let value = |tag: &Tag, name: &str| tag.attributes.get(name).cloned().unwrap_or_default();
        hidden.map(|tag| (value(tag, "name"), value(tag, "value"))).collect()
    }

    /// The value of the hidden field with this name.
    pub fn field(&self, name: &str) -> String {
        let is = |tag: &Tag| tag.name == "input" && tag.attributes.get("name").is_some_and(|known| known == name);
        let found = self.tags().into_iter().find(is);
        found.and_then(|tag| tag.attributes.get("value").cloned()).unwrap_or_default()
    }
}

fn unescaped(text: &str) -> String {
    let pairs = [("&#60;", "<"), ("&#62;", ">"), ("&#34;", "\""), ("&#39;", "'"), ("&#38;", "&")];
    pairs.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}
