//! Every attack on signing in and on sessions, made once, with what stopped it: `make console` prints the table, and docs/console.md
//! has the same.

use larder_tests::{Backend, Larder, Options, PASSWORD, Shown, Tab, eventually, guests, now, workspace};
use reqwest::Method;
use serde_json::{Value, json};

use super::second_factor::code;
use super::{DEPO, META, of, path, printed};

const ANNA: &str = "anna@bank.example";
const NEW: &str = "a new one, long enough";

/// What was tried, what stops it, what was answered.
type Row = (&'static str, &'static str, String);

fn fields(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

struct Attacks {
    larder: Larder,
    rows: Vec<Row>,
}

impl Attacks {
    fn tab(&self) -> Tab {
        Tab::at(&self.larder, DEPO.0)
    }

    async fn anna(&self) -> Tab {
        let mut tab = self.tab();
        tab.sign_in(DEPO.1, ANNA, PASSWORD, "").await.is(200);
        tab
    }

    fn stopped(&mut self, attempt: &'static str, by: &'static str, answered: impl ToString) {
        self.rows.push((attempt, by, answered.to_string()));
    }

    async fn link(&self, email: &str) -> String {
        let (status, link, said) = self.larder.cli(self.larder.scratch(), &["admin", "invite", email]).await;
        assert_eq!(status, 0, "{said}");
        path(link.trim())
    }

    async fn set_password(&self, link: &str) -> Shown {
        let mut tab = self.tab();
        let page = tab.go(link).await;
        if page.status != 200 {
            return page;
        }
        tab.submit_once(&page, "/depo/set-password", &[("password", NEW), ("again", NEW)]).await
    }

    /// Is somebody signed in with the cookies of this tab?
    async fn is_in(tab: &mut Tab) -> bool {
        let heading = tab.go("/depo").await.heading();
        assert!(heading == "Today" || heading == "Sign in", "{heading}");
        heading == "Today"
    }

    async fn forms(&mut self) {
        let (mut anna, mut bo) = (self.anna().await, self.tab());
        bo.sign_in(DEPO.1, "bo@bank.example", PASSWORD, "").await.is(200);
        let own = anna.go("/depo/sessions").await.field("form_token");
        let theirs = bo.go("/depo/sessions").await.field("form_token");
        let action = "/depo/sign-out";
        for (attempt, by, token, site) in [
            ("a form of another site", "`Sec-Fetch-Site`, `SameSite=Strict`", &own, "cross-site"),
            (
                "a form of another partner's host",
                "`Sec-Fetch-Site`: the same site is not the same origin",
                &own,
                "same-site",
            ),
            (
                "a form with the token of another session",
                "the token follows from the session's own",
                &theirs,
                "same-origin",
            ),
        ] {
            let answer = anna.post(action, &fields(&[("form_token", token)]), site).await.is(403);
            assert!(Self::is_in(&mut anna).await, "{attempt}");
            self.stopped(attempt, by, answer.status);
        }
        let answer = anna.go(&format!("{action}?form_token={own}&_method=POST")).await.is(405);
        let request = anna.request(Method::GET, action).header("x-http-method-override", "POST");
        assert_eq!(anna.send(action, request.header("sec-fetch-mode", "navigate")).await.status, 405);
        assert!(Self::is_in(&mut anna).await);
        self.stopped(
            "an action by a link, or by a header that names the method",
            "actions are POST, whatever else is said",
            answer.status,
        );
    }

    async fn sessions(&mut self) {
        let mut fixed = self.tab();
        fixed.go("/depo/sign-in").await.is(200);
        let planted = fixed.cookies.clone();
        fixed.sign_in(DEPO.1, ANNA, PASSWORD, "").await.is(200);
        let mut thief = self.tab();
        thief.cookies = planted;
        assert!(!Self::is_in(&mut thief).await);
        self.stopped(
            "a session that was put into the browser before signing in",
            "signing in makes another one",
            "not signed in",
        );

        let mut anna = self.anna().await;
        let (name, value) =
            anna.cookies.iter().next().map(|(name, value)| (name.clone(), value.clone())).expect("a cookie");
        let mut tossed = self.tab();
        tossed.more.push(("cookie", format!("{name}={value}; {name}=session_x")));
        assert!(!Self::is_in(&mut tossed).await);
        self.stopped(
            "a second cookie with the name, of another host",
            "of two neither counts; `__Host-Http-` by TLS",
            "not signed in",
        );

        let mut other = Tab::at(&self.larder, "other.localhost");
        other.cookies = anna.cookies.clone();
        assert!(!Self::is_in(&mut other).await);
        self.stopped("a session at the console of another partner", "its person has no role there", "not signed in");

        let answer = self.larder.person(&format!("{name}={value}")).get("/account").await;
        assert_eq!(answer.status, 401);
        self.stopped("a session of the console at the API", "the API has cookies of its own", answer.status);
        let cookie = self.larder.sign_in(ANNA).await;
        let mut api = self.tab();
        api.more.push(("cookie", cookie));
        assert!(!Self::is_in(&mut api).await);
        self.stopped("a session of the API at the console", "the console has cookies of its own", "not signed in");

        for (attempt, mode, dest, by) in [
            (
                "a page of a function at the same host that fetches a console",
                "cors",
                "empty",
                "a session counts where somebody has navigated to ([ADR 0055](adr/0055-consoles-beside-functions.md))",
            ),
            ("the console in a frame", "navigate", "iframe", "the same, and `frame-ancestors 'none'`"),
        ] {
            let request = anna.request(Method::GET, "/depo").header("sec-fetch-site", "same-origin");
            let answer =
                anna.send("/depo", request.header("sec-fetch-mode", mode).header("sec-fetch-dest", dest)).await;
            assert_eq!(answer.status, 303);
            assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"));
            self.stopped(attempt, by, answer.status);
        }
        let answer =
            anna.request(Method::GET, "/x").header("service-worker", "script").send().await.expect("an answer");
        assert_eq!(answer.status(), 404);
        self.stopped(
            "a service worker of a function",
            "none is served at the host of a console",
            answer.status().as_u16(),
        );
        let seen: Value = anna.request(Method::GET, "/x").send().await.expect("an answer").json().await.expect("JSON");
        assert!(!seen.to_string().contains("session_"), "{seen}");
        self.stopped(
            "a function that reads the cookie",
            "it is taken out of requests, and out of answers",
            "no cookie",
        );

        let kept = anna.cookies.clone();
        let page = anna.go("/depo").await;
        assert_eq!(page.header("cache-control"), "no-store");
        anna.submit(&page, "/depo/sign-out", &[]).await.is(200);
        anna.cookies = kept;
        assert!(!Self::is_in(&mut anna).await);
        self.stopped(
            "a cookie or a page that was kept after signing out",
            "the session has ended in the database; `Cache-Control: no-store`",
            "not signed in",
        );
    }

    async fn roles(&mut self) {
        let made = self.larder.administrator("gone@bank.example", of("demo")).await;
        let mut gone = self.tab();
        gone.sign_in(DEPO.1, "gone@bank.example", PASSWORD, "").await.is(200);
        let id = made["$id"].as_str().expect("an id");
        let roles = json!({ "roles": of("other") });
        self.larder.operator().patch(&format!("/operator/administrators/{id}"), roles).await.is(200);
        assert!(!Self::is_in(&mut gone).await);
        self.stopped(
            "a role that was taken away while its person was signed in",
            "roles are looked up at each request",
            "not signed in",
        );
        let answer = self.tab().sign_in(DEPO.1, "gone@bank.example", PASSWORD, "").await.is(403);
        self.stopped("a wrong partner's console with a right password", "refused as a wrong password", answer.status);
        let mut fresh = self.tab();
        let page = fresh.go("/depo/sign-in").await;
        let mut sent = fields(&[("next", "https://evil.example"), ("email", ANNA), ("password", PASSWORD)]);
        sent.push(("form_token".into(), page.field("form_token")));
        let answer = fresh.post("/depo/sign-in", &sent, "same-origin").await.is(303);
        assert_eq!(answer.header("location"), "/depo");
        self.stopped(
            "being led elsewhere after signing in",
            "only addresses of the same console",
            answer.header("location"),
        );
    }

    async fn texts(&mut self) {
        let mut evil = self.tab();
        evil.more.push(("user-agent", "<script>alert(1)</script>".into()));
        evil.sign_in(DEPO.1, "evil@bank.example", PASSWORD, "").await.is(200);
        let page = evil.go("/depo/sessions").await.is(200).says("&#60;script&#62;alert(1)").says("&#60;b&#62;");
        assert!(!page.html.contains("<script>alert") && !page.html.contains("<b>"));
        let by = "templates escape everything; `script-src 'self'`, `require-trusted-types-for 'script'`";
        self.stopped("HTML in a name or a user agent; in events, logs, errors, memos, labels, grants ([pages.rs](../tests/it/console/pages.rs))", by, "shown as text");
    }

    async fn links(&mut self) {
        let first = self.link("bo@bank.example").await;
        let second = self.link("bo@bank.example").await;
        let answer = self.set_password(&first).await.is(404);
        self.stopped("a link that a newer one has replaced", "the newer one voids it", answer.status);
        let answer = Tab::at(&self.larder, "other.localhost").go(&second).await.is(404);
        self.stopped("a link at another console", "it is good where the person has a role", answer.status);
        let mut bo = self.tab();
        bo.sign_in(DEPO.1, "bo@bank.example", PASSWORD, "").await.is(200);
        self.set_password(&second).await.is(303);
        let answer = self.set_password(&second).await.is(404);
        self.stopped("a link once more", "its hash is deleted with the change", answer.status);
        assert!(!Self::is_in(&mut bo).await);
        self.stopped(
            "a session that goes on after the password was changed",
            "a new password ends all sessions",
            "not signed in",
        );
    }

    async fn letters(&mut self) {
        let written = || {
            let folder = std::fs::read_dir(self.larder.data().join("mails")).into_iter().flatten();
            let texts = folder.filter_map(|file| std::fs::read_to_string(file.ok()?.path()).ok());
            texts.filter(|text| text.contains("To: rea@bank.example")).count()
        };
        let ask = async |email: &str| {
            let mut tab = self.tab();
            let page = tab.go("/depo/forgotten").await;
            let answer = tab.submit_once(&page, "/depo/forgotten", &[("email", email)]).await;
            (answer.status, answer.header("location").to_owned(), answer.html)
        };
        let answers = [ask("rea@bank.example").await, ask("nobody@bank.example").await, ask("rea@other.example").await];
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        eventually("a letter", async || (written() == 1).then_some(())).await;
        let mut last = 0;
        for _ in 0..12 {
            last = ask("rea@bank.example").await.0;
        }
        let count = written();
        assert!(last == 429 && (1..=5).contains(&count), "{last} {count}");
        self.stopped(
            "the address of somebody with an account, by asking for another password",
            "the letter is written after the answer",
            "the same answer",
        );
        self.stopped("a flood of letters to somebody", "`mail.per_recipient`; each makes the next wait longer", last);
    }

    async fn guesses(&mut self) {
        // What a refusal costs is counted in checks of passwords, not in time.
        let checks = async || {
            let (_, metrics) = self.larder.internal("/metrics").await;
            let line =
                metrics.lines().find(|line| line.starts_with("larder_password_checks_total")).expect("the counter");
            line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok()).expect("a number")
        };
        let mut seen = Vec::new();
        for email in [ANNA, "nobody@bank.example", "unset@bank.example"] {
            let before = checks().await;
            let answer = self.tab().sign_in(DEPO.1, email, "a guess of twelve", "123456").await.is(403);
            let cost = checks().await - before;
            let html = answer.html.replace(email, "WHO").replace(&answer.field("form_token"), "TOKEN");
            seen.push((html.lines().filter(|line| !line.contains("<time")).collect::<String>(), cost));
        }
        assert!(seen.iter().all(|(html, cost)| *html == seen[0].0 && *cost == 1.0), "{seen:?}");
        self.stopped(
            "the address of somebody with an account, by the answer",
            "every refusal is the same page",
            "the same page",
        );
        self.stopped(
            "the same, by the time that the answer takes",
            "one check of a password for everybody, counted",
            "1 check each",
        );

        let mut ops = Tab::at(&self.larder, META.0);
        let page = ops.sign_in(META.1, "ops@bank.example", PASSWORD, "").await.is(200);
        assert_eq!(ops.go(META.1).await.heading(), "Second factor");
        self.stopped(
            "a role that needs a second factor, without one",
            "nothing else is reached until it is set up",
            "Second factor",
        );
        let secret = page.tags().into_iter().find(|tag| tag.name == "code").expect("a secret").text;
        let first = code(&secret, now());
        ops.submit(&page, "/meta_depo/second-factor", &[("password", PASSWORD), ("code", &first)]).await.is(200);
        let mut other = Tab::at(&self.larder, META.0);
        let answer = other.sign_in(META.1, "ops@bank.example", PASSWORD, &first).await.is(403);
        self.stopped("a code of the second factor once more", "its step is used up, in the database", answer.status);
        let mut last = 0;
        for guess in 0..8 {
            last = other.sign_in(META.1, "ops@bank.example", PASSWORD, &format!("{guess:06}")).await.status;
        }
        assert_eq!(last, 429);
        self.stopped("guessing codes with a known password", "counted as guessing passwords", last);
        for _ in 0..8 {
            last = self.tab().sign_in(DEPO.1, "evil@bank.example", "a guess of twelve", "").await.status;
        }
        assert_eq!(last, 429);
        self.stopped("guessing passwords", "each failure makes the next wait longer, by account and by address", last);
    }

    async fn listening(&mut self) {
        let mut far = self.tab();
        far.more.push(("x-forwarded-for", "10.1.2.3".into()));
        let answer = far.go(&printed(&self.larder, "console")).await.is(403).says("TLS");
        self.stopped("somebody who listens", "without TLS only on the same machine", answer.status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_attack_of_the_table_is_stopped() {
    let options = Options::on(Backend::Embedded).set("LARDER_SERVER__PROXIES", r#"["127.0.0.0/8"]"#);
    let larder = Larder::start_with(options).await;
    larder.partner("other").await;
    larder.api().deploy("mirror", &guests::guest("mirror"), json!({ "routes": ["/"], "execute": ["any"] })).await;
    for email in [ANNA, "bo@bank.example", "rea@bank.example"] {
        larder.administrator(email, of("demo")).await;
    }
    larder.administrator("ops@bank.example", json!([{ "role": "operator" }])).await;
    let evil =
        json!({ "email": "evil@bank.example", "name": "<b>evil</b>", "password": PASSWORD, "roles": of("demo") });
    larder.operator().post("/operator/administrators", evil).await.is(201);
    larder.cli(larder.scratch(), &["admin", "invite", "unset@bank.example", "--administers", "demo"]).await;
    let mut attacks = Attacks { larder, rows: vec![] };
    attacks.forms().await;
    attacks.sessions().await;
    attacks.roles().await;
    attacks.texts().await;
    attacks.links().await;
    attacks.listening().await;
    attacks.letters().await;
    attacks.guesses().await;
    let rows = attacks.rows;
    assert!(rows.len() >= 25, "{}", rows.len());
    let mut written = String::from("| attempt | what stops it | answer |\n|---|---|---|\n");
    for (attempt, by, answer) in &rows {
        written.push_str(&format!("| {attempt} | {by} | {answer} |\n"));
    }
    println!("{written}");
    let page = std::fs::read_to_string(workspace().join("docs/console.md")).expect("docs/console.md");
    assert!(page.contains(&written), "docs/console.md has another table than this:\n{written}");
}
