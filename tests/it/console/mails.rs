//! Letters to people who sign in.

use std::time::Duration;

use larder_tests::mailbox::{Mailbox, Mood, Protection, Received};
use larder_tests::outside::Authority;
use larder_tests::{Backend, Larder, Options, PASSWORD, Tab, both, eventually, folder};
use serde_json::json;

use super::{DEPO, META, of, path, printed};

const NEW: &str = "a new one, long enough";

fn with(options: Options, mailbox: &Mailbox) -> Options {
    options
        .set("_APP_SMTP_HOST", "127.0.0.1")
        .set("_APP_SMTP_PORT", mailbox.port())
        .set("_APP_SMTP_SECURE", "none")
        .set("_APP_SYSTEM_EMAIL_ADDRESS", "larder@bank.example")
        .set("_APP_SYSTEM_EMAIL_NAME", "Larder der Bänk")
}

async fn letters(mailbox: &Mailbox, count: usize) -> Vec<Received> {
    eventually("letters", async || Some(mailbox.received()).filter(|all| all.len() >= count)).await
}

/// Asks for a link as somebody who has forgotten their password.
async fn forgets(larder: &Larder, host: &str, base: &str, email: &str, language: &str) -> larder_tests::Shown {
    let mut tab = Tab::at(larder, host);
    tab.more.push(("accept-language", language.into()));
    let page = tab.go(&format!("{base}/forgotten")).await.is(200);
    let sent = tab.submit_once(&page, &format!("{base}/forgotten"), &[("email", email)]).await;
    match sent.status {
        303 => tab.go(sent.header("location")).await.is(200),
        _ => sent,
    }
}

async fn sets_password(larder: &Larder, link: &str, password: &str) -> u16 {
    let mut tab = Tab::at(larder, DEPO.0);
    let page = tab.go(&path(link)).await;
    if page.status != 200 {
        return page.status;
    }
    tab.submit_once(&page, "/depo/set-password", &[("password", password), ("again", password)]).await.status
}

/// The operator's page about letters.
async fn overview(larder: &Larder) -> String {
    let mut tab = Tab::at(larder, META.0);
    let page = tab.go(&printed(larder, "operator")).await.is(200);
    tab.submit(&page, "/meta_depo/enter", &[]).await.is(200);
    tab.go("/meta_depo/mails").await.is(200).html
}

both!(a_link_comes_by_mail_and_sets_a_password_once, async |on| {
    let mailbox = Mailbox::start(Protection::None).await;
    let larder = Larder::start_with(with(Options::on(on), &mailbox)).await;
    let arguments = ["admin", "invite", "anna@bank.example", "--name", "Anna <b>B</b>", "--administers", "demo"];
    let (status, link, said) = larder.cli(larder.scratch(), &arguments).await;
    assert_eq!(status, 0, "{said}");
    let letter = letters(&mailbox, 1).await.remove(0);
    assert_eq!((letter.to.as_str(), letter.link()), ("anna@bank.example", link.trim().to_owned()));
    assert_eq!(letter.header("To"), "anna@bank.example");
    assert!(letter.header("Subject").contains("Your account at localhost"), "{}", letter.text);
    assert!(letter.header("From").contains("<larder@bank.example>"), "{}", letter.text);
    assert!(
        letter.text.contains("Hello Anna <b>B</b>,") && letter.text.contains("Hello Anna &#60;b&#62;B&#60;/b&#62;,"),
        "{}",
        letter.text
    );
    assert_eq!(sets_password(&larder, &letter.link(), PASSWORD).await, 303);

    // Forgotten: a letter in the language of the page, with a link to this console.
    let mut before = Tab::at(&larder, DEPO.0);
    assert_eq!(before.sign_in(DEPO.1, "anna@bank.example", PASSWORD, "").await.heading(), "Today");
    let said = forgets(&larder, DEPO.0, DEPO.1, " Anna@Bank.example ", "sv").await;
    assert!(said.html.contains("är ett brev på väg"), "{}", said.html);
    let letter = letters(&mailbox, 2).await.remove(1);
    assert!(letter.text.contains("bett om ett nytt lösenord"), "{}", letter.text);
    assert!(letter.link().contains("://demo.localhost"), "{}", letter.link());
    // Until it is used nothing has changed.
    assert_eq!(before.go("/depo").await.heading(), "Today");
    Tab::at(&larder, "localhost").go(&path(&letter.link()).replace("/depo", "/meta_depo")).await.is(404);
    assert_eq!(sets_password(&larder, &letter.link(), NEW).await, 303);
    assert_eq!(sets_password(&larder, &letter.link(), PASSWORD).await, 404);
    assert_eq!(before.go("/depo").await.heading(), "Sign in");
    Tab::at(&larder, DEPO.0).sign_in(DEPO.1, "anna@bank.example", PASSWORD, "").await.is(403);
    assert_eq!(Tab::at(&larder, DEPO.0).sign_in(DEPO.1, "anna@bank.example", NEW, "").await.heading(), "Today");

    // Nobody else gets one: no account, no role here, no address. The answer is the same.
    larder.partner("other").await;
    larder.administrator("bo@bank.example", of("other")).await;
    let page =
        |shown: larder_tests::Shown| shown.html.lines().filter(|line| !line.contains("<time")).collect::<String>();
    let good = page(forgets(&larder, DEPO.0, DEPO.1, "anna@bank.example", "en").await);
    for other in ["nobody@bank.example", "bo@bank.example", "no address"] {
        let answer = page(forgets(&larder, DEPO.0, DEPO.1, other, "en").await);
        let forms = |text: &str| {
            text.split("name=\"form_token\" value=\"")
                .map(|part| part.get(64..).unwrap_or(part).to_owned())
                .collect::<String>()
        };
        assert_eq!(forms(&answer), forms(&good), "{other}");
    }
    letters(&mailbox, 3).await;

    // An address has so many letters in an hour, and whoever asks for more waits.
    let mut ends = Vec::new();
    for _ in 0..12 {
        ends.push(forgets(&larder, DEPO.0, DEPO.1, "anna@bank.example", "en").await.status);
    }
    assert!(ends.contains(&429), "{ends:?}");
    let all = mailbox.received();
    assert!(all.len() <= 5 && all.iter().all(|letter| letter.to == "anna@bank.example"), "{}", all.len());
    let page = overview(&larder).await;
    assert!(page.contains("anna@bank.example") && page.contains("state sent") && !page.contains("token="), "{page}");
});

both!(a_letter_is_tried_until_a_server_takes_it, async |on| {
    let mailbox = Mailbox::start(Protection::None).await;
    let mut larder = Larder::start_with(with(Options::on(on), &mailbox).set("LARDER_MAIL__TIMEOUT", "1s")).await;
    larder.administrator("anna@bank.example", of("demo")).await;
    mailbox.is(Mood::Refuses("451 come back later"));
    forgets(&larder, DEPO.0, DEPO.1, "anna@bank.example", "en").await;
    eventually("a refusal", async || overview(&larder).await.contains("come back later").then_some(())).await;
    // A newer letter takes the place of one that waits: only its link is good.
    forgets(&larder, DEPO.0, DEPO.1, "anna@bank.example", "en").await;
    eventually("a newer letter", async || overview(&larder).await.contains("state replaced").then_some(())).await;
    mailbox.is(Mood::Takes);
    let letter = letters(&mailbox, 1).await.remove(0);
    let link = letter.link();

    // The process dies after the server has the letter, and before it has heard so: the letter comes again, as the same one.
    mailbox.is(Mood::Hesitates(Duration::from_secs(20)));
    forgets(&larder, DEPO.0, DEPO.1, "anna@bank.example", "en").await;
    let second = letters(&mailbox, 2).await.remove(1);
    larder.kill();
    mailbox.is(Mood::Takes);
    larder.restart().await;
    let third = letters(&mailbox, 3).await.remove(2);
    assert!(!second.header("Message-ID").is_empty(), "{}", second.text);
    assert_eq!((second.header("Message-ID"), second.link()), (third.header("Message-ID"), third.link()));
    assert_ne!(letter.header("Message-ID"), second.header("Message-ID"));
    assert_eq!(sets_password(&larder, &link, NEW).await, 404, "a newer link was made");
    assert_eq!(sets_password(&larder, &third.link(), NEW).await, 303);

    // What is refused for good is not tried again.
    mailbox.is(Mood::Refuses("550 no such mailbox"));
    let tried = mailbox.tried();
    forgets(&larder, DEPO.0, DEPO.1, "anna@bank.example", "en").await;
    eventually("the end", async || overview(&larder).await.contains("state given_up").then_some(())).await;
    assert!(overview(&larder).await.contains("no such mailbox"));
    assert_eq!(mailbox.tried(), tried + 1);
});

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_by_tls_to_a_server_that_is_trusted_or_not_at_all() {
    let authority = Authority::new();
    let scratch = folder("larder-mail-");
    let file = authority.file(scratch.path()).to_string_lossy().into_owned();
    let acceptor = || authority.acceptor(&["localhost"]);
    for (protection, security, trusted, arrives) in [
        (Protection::StartTls(acceptor()), "starttls", true, true),
        (Protection::Tls(acceptor()), "tls", true, true),
        (Protection::StartTls(acceptor()), "starttls", false, false),
        (Protection::None, "starttls", true, false),
    ] {
        let mailbox = Mailbox::start(protection).await;
        let mut options = Options::on(Backend::Embedded)
            .set("LARDER_MAIL__HOST", "localhost")
            .set("LARDER_MAIL__PORT", mailbox.port())
            .set("LARDER_MAIL__SECURITY", security)
            .set("LARDER_MAIL__USERNAME", "larder")
            .set("LARDER_MAIL__PASSWORD", "open sesame")
            .set("LARDER_MAIL__SENDER", "larder@bank.example");
        if trusted {
            options = options.set("LARDER_MAIL__CA_FILE", file.clone());
        }
        let larder = Larder::start_with(options).await;
        let (status, _, said) =
            larder.cli(larder.scratch(), &["admin", "invite", "anna@bank.example", "--administers", "demo"]).await;
        assert_eq!(status, 0, "{said}");
        if arrives {
            let letter = letters(&mailbox, 1).await.remove(0);
            // larder, open sesame (RFC 4616).
            assert_eq!((letter.by_tls, letter.signed_in.as_str()), (true, "AGxhcmRlcgBvcGVuIHNlc2FtZQ=="));
        } else {
            eventually("a failure", async || overview(&larder).await.contains("data-due").then_some(())).await;
            assert_eq!((mailbox.tried(), mailbox.received().len()), (0, 0), "{security}");
        }
        assert!(!larder.log().contains("open sesame"));
        let mut ops = Tab::at(&larder, META.0);
        let page = ops.go(&printed(&larder, "operator")).await.is(200);
        ops.submit(&page, "/meta_depo/enter", &[]).await.is(200);
        let settings = ops.go("/meta_depo/settings").await.is(200).html;
        assert!(settings.contains("mail.password") && !settings.contains("open sesame"), "{settings}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_nobody_gets_mail_or_letters_lie_in_a_folder() {
    let larder = Larder::start_on(Backend::Embedded).await;
    let (status, link, said) =
        larder.cli(larder.scratch(), &["admin", "invite", "anna@bank.example", "--administers", "demo"]).await;
    assert_eq!(status, 0, "{said}");
    let mut ops = Tab::at(&larder, META.0);
    let page = ops.go(&printed(&larder, "operator")).await.is(200);
    ops.submit(&page, "/meta_depo/enter", &[]).await.is(200);
    let letter = eventually("a letter", async || {
        let page = ops.go("/meta_depo/mails").await.is(200);
        page.tags().into_iter().find_map(|tag| tag.attributes.get("href").filter(|to| to.contains("/mails/")).cloned())
    })
    .await;
    let shown = ops.go(&letter).await.is(200).html;
    assert!(
        shown.contains("Your account at localhost")
            && shown.contains(link.trim().rsplit('=').next().expect("a token").get(..20).expect("a token")),
        "{shown}"
    );
    ops.go("/meta_depo/mails/../master.key").await.is(404);
    ops.go("/meta_depo/mails/no-such-letter").await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_and_sign_ins_are_limited_to_what_is_listed() {
    let options = Options::on(Backend::Embedded)
        .set("_APP_CONSOLE_WHITELIST_EMAILS", "ops@elsewhere.example, @bank.example")
        .set("_APP_CONSOLE_WHITELIST_IPS", "127.0.0.0/8, 10.1.0.0/16")
        .set("_APP_CONSOLE_WHITELIST_ROOT", "enabled")
        .set("LARDER_SERVER__PROXIES", "127.0.0.0/8");
    let larder = Larder::start_with(options).await;
    let make = async |email: &str| {
        let body = json!({ "email": email, "name": "x", "password": PASSWORD, "roles": of("demo") });
        larder.operator().post("/operator/administrators", body).await
    };
    for refused in ["anna@other.example", "ops2@elsewhere.example", "x@evilbank.example", "x@bank.example.org"] {
        let answer = make(refused).await;
        assert!(
            answer.status == 400 && answer.body.to_string().contains("administrators.emails"),
            "{refused}: {}",
            answer.body
        );
    }
    for taken in ["anna@Bank.example", "ops@elsewhere.example"] {
        make(taken).await.is(201);
    }
    // Refused as a wrong password from elsewhere, by the console and by the API.
    for (from, status) in [("10.1.2.3", 200), ("10.2.0.1", 403)] {
        let api = larder.api_of(Some("console"), None);
        let body = json!({ "email": "anna@bank.example", "password": PASSWORD });
        let request =
            api.request(reqwest::Method::POST, "/account/sessions/email").header("x-forwarded-for", from).json(&body);
        let answer = larder_tests::Api::send(request).await;
        assert_eq!(answer.status, if status == 200 { 201 } else { 401 }, "{from}: {}", answer.body);
    }
    assert_eq!(Tab::at(&larder, DEPO.0).sign_in(DEPO.1, "anna@bank.example", PASSWORD, "").await.heading(), "Today");
}

#[tokio::test]
async fn settings_of_mail_that_cannot_be_are_named() {
    let set = |name: &'static str, value: &str| (name, value.to_owned());
    let said = Larder::refusal(&[
        set("_APP_SMTP_HOST", "mail.bank.example"),
        set("_APP_SMTP_PASSWORD", "x"),
        set("LARDER_MAIL__TIMEOUT", "0s"),
    ]);
    for key in ["mail.sender", "mail.username", "mail.timeout"] {
        assert!(said.to_lowercase().contains(&key.replace('.', "__")) || said.contains(key), "{key}: {said}");
    }
    let said = Larder::refusal(&[set("_APP_SMTP_SECURE", "ssl3")]);
    assert!(said.contains("_APP_SMTP_SECURE must be tls or"), "{said}");
}
