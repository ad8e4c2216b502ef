//! The second factor.

use larder_tests::{Api, Larder, PASSWORD, Shown, Tab, both, now};
use serde_json::json;

use super::{META, of};

/// The code of a secret in base 32, as an authenticator makes it (RFC 6238).
pub(super) fn code(secret: &str, at_s: i64) -> String {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let (mut bits, mut count, mut key) = (0_u32, 0, Vec::new());
    for letter in secret.bytes() {
        bits = bits << 5 | letters.iter().position(|known| *known == letter).expect("base 32") as u32;
        count += 5;
        if count >= 8 {
            count -= 8;
            key.push((bits >> count & 0xff) as u8);
        }
    }
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let tag = ring::hmac::sign(&key, &(at_s / 30).to_be_bytes());
    let offset = usize::from(tag.as_ref()[19] & 15);
    let number = u32::from_be_bytes(tag.as_ref()[offset..offset + 4].try_into().expect("four")) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

fn secret(page: &Shown) -> String {
    page.tags().into_iter().find(|tag| tag.name == "code").expect("a secret").text
}

both!(an_operator_needs_a_second_factor_whose_codes_count_once, async |on| {
    let larder = Larder::start_on(on).await;
    larder.administrator("ops@bank.example", json!([{ "role": "operator" }])).await;
    let (base, page_of) = (META.1, "/meta_depo/second-factor");
    let mut tab = Tab::at(&larder, META.0);
    // Until it is set up, nothing else is reached.
    let page = tab.sign_in(base, "ops@bank.example", PASSWORD, "").await.is(200);
    assert_eq!((page.path.as_str(), page.heading().as_str()), (page_of, "Second factor"));
    for path in [base, "/meta_depo/processes", "/meta_depo/sessions"] {
        assert_eq!(tab.go(path).await.path, page_of, "{path}");
    }
    let mut beside = Tab::at(&larder, META.0);
    beside.sign_in(base, "ops@bank.example", PASSWORD, "").await.is(200);
    let secret = secret(&page);
    assert!(page.html.contains("<svg") && secret.len() == 32, "{secret}");
    let wrong = [("password", PASSWORD), ("code", "000000")];
    let page = tab.submit(&page, page_of, &wrong).await.is(400).says("not the code of this moment");
    let first = code(&secret, now());
    let guess = [("password", "not the password"), ("code", &*first)];
    let page = tab.submit(&page, page_of, &guess).await.is(403).says("The password is wrong");
    // An offer is of its session.
    let theirs = beside.go(page_of).await;
    let mut fields =
        vec![("form_token".to_owned(), page.field("form_token")), ("offer".to_owned(), theirs.field("offer"))];
    fields.extend([("password", PASSWORD), ("code", &*first)].map(|(name, value)| (name.to_owned(), value.to_owned())));
    tab.post(page_of, &fields, "same-origin").await.is(400);
    let first = code(&secret, now());
    let shown = tab.submit(&page, page_of, &[("password", PASSWORD), ("code", &*first)]).await.is(200);
    assert_eq!(shown.heading(), "Recovery codes");
    let codes: Vec<String> = shown.tags().into_iter().filter(|tag| tag.name == "code").map(|tag| tag.text).collect();
    assert_eq!(codes.len(), 10);
    assert_eq!(tab.go(base).await.heading(), "Installation");
    assert_eq!(beside.go(base).await.heading(), "Sign in", "other sessions go on");

    // From now on the password is not enough, here nor by the API.
    let attempt = async |given: &str| Tab::at(&larder, META.0).sign_in(base, "ops@bank.example", PASSWORD, given).await;
    attempt("").await.is(403).says("This did not fit.");
    // The code of setting up was used, and so is each other one.
    attempt(&first).await.is(403);
    // That of the next half minute counts early, for clocks that are ahead.
    let next = code(&secret, now() + 30);
    assert_eq!(attempt(&next).await.is(200).heading(), "Installation");
    attempt(&next).await.is(403);
    let recovery = format!("{}-{}", codes[0][..6].to_uppercase(), &codes[0][6..]);
    assert_eq!(attempt(&recovery).await.is(200).heading(), "Installation");
    attempt(&codes[0]).await.is(403);
    let mut again = Tab::at(&larder, META.0);
    again.sign_in(base, "ops@bank.example", PASSWORD, &codes[1]).await.is(200);
    again.go(page_of).await.is(200).says("Recovery codes left: <strong>8</strong>");
    let body = json!({ "email": "ops@bank.example", "password": PASSWORD });
    let api = larder.api_of(Some("console"), None);
    let answer = api.post("/account/sessions/email", body).await;
    assert_eq!(answer.status, 401, "{}", answer.body);
    // Guessing codes is as slow as guessing passwords, though the password is right.
    let mut ends = Vec::new();
    for guess in 0..8 {
        ends.push(attempt(&format!("{guess:06}")).await.status);
    }
    assert!(ends.contains(&429), "{ends:?}");
    // Whoever has lost everything is helped by the operator, and signs in with the password.
    let arguments = ["administrators", "update", "ops@bank.example", "--no-second-factor"];
    assert_eq!(larder.cli(larder.scratch(), &arguments).await.0, 0);
    assert_eq!(again.go(base).await.heading(), "Sign in");
    let all = larder.operator().get("/operator/administrators").await.is(200);
    let is_set = |email: &str| {
        let mut all = all["administrators"].as_array().unwrap().iter();
        all.find(|one| one["email"] == email).unwrap()["mfa"].clone()
    };
    assert_eq!(is_set("ops@bank.example"), json!(false));
    Api::send(larder.operator().request(reqwest::Method::POST, "/operator/administrators/nobody/link"))
        .await
        .is_error(404, "administrator_not_found");
    // A partner's administrator may have one, and needs none.
    larder.administrator("anna@bank.example", of("demo")).await;
    let mut tab = Tab::at(&larder, "demo.localhost");
    assert_eq!(tab.sign_in("/depo", "anna@bank.example", PASSWORD, "").await.is(200).heading(), "Today");
    tab.go("/depo/second-factor").await.is(200);
});
