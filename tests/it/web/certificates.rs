//! Certificates by ACME, from pebble: issued by both challenges with half of the nonces refused, renewed, shared by processes,
//! not ordered for names that lead elsewhere, and so many of each partner.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use larder_model::ids::PartnerId;
use larder_model::settings::Settings;
use larder_store::Store;
use larder_tests::front::{Front, cores_of};
use larder_tests::outside::Authority;
use larder_tests::services::{Pebble, free_port};
use larder_tests::{Api, Backend, Larder, Options, both, eventually, guests, within};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const NAME: &str = "hello.fn.bank.test";

/// An installation whose authority is a pebble.
struct Installation {
    larder: Larder,
    pebble: Pebble,
    /// A client that trusts the pebble's certificates only.
    client: TlsConnector,
    tls: u16,
    redirect: u16,
    options: Options,
    /// Whoever asks for the name comes to it first.
    _front: Option<Front>,
    _folder: tempfile::TempDir,
}

impl Installation {
    /// Its certificates are valid for so many seconds, and its authority finds HTTP at this port, if not at ours.
    async fn start(options: Options, seconds: u32, http: Option<u16>) -> Installation {
        Installation::start_behind(options, seconds, http, false).await
    }

    /// The same; clients and the authority come to a front, if there is one.
    async fn start_behind(options: Options, seconds: u32, http: Option<u16>, is_behind: bool) -> Installation {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new();
        let certificate = authority.issue_files(folder.path(), &["127.0.0.1"]);
        let (redirect, tls) = (free_port(), free_port());
        let http = http.unwrap_or(redirect);
        let pebble = Pebble::start(&folder.path().join("pebble"), (http, tls), seconds, &certificate);
        let trusted = authority.file(folder.path());
        let options = options
            .set("LARDER_SERVER__FUNCTIONS_DOMAIN", "fn.bank.test")
            .set("LARDER_ACME__DIRECTORY", pebble.directory())
            .set("LARDER_ACME__TERMS_OF_SERVICE_AGREED", "true")
            .set("LARDER_ACME__CONTACT", "ops@bank.test")
            .set("LARDER_ACME__HTTP_PORT", http.to_string())
            .set("LARDER_ACME__TLS_PORT", tls.to_string())
            .set("LARDER_ACME__POLL", "200ms")
            .set("LARDER_EGRESS__CA_FILE", trusted.to_str().expect("text"))
            .set("LARDER_EGRESS__PRIVATE_NETWORKS", r#"["127.0.0.0/8"]"#)
            .set("LARDER_EGRESS__DNS_SERVERS", format!(r#"["{}"]"#, pebble.dns_server()));
        let listens = [
            ("LARDER_TLS__LISTEN", format!("127.0.0.1:{tls}")),
            ("LARDER_TLS__REDIRECT_LISTEN", format!("127.0.0.1:{redirect}")),
        ];
        let mut serving = options.clone();
        match is_behind {
            true => serving = serving.set("LARDER_FRONT__LISTEN", "127.0.0.1:0"),
            false => serving.settings.extend(listens.clone()),
        }
        let larder = Larder::start_with(serving).await;
        let front = match is_behind {
            true => {
                let mut settings = listens.to_vec();
                settings.push(("LARDER_FRONT__CORES", cores_of(&larder).await));
                settings.push(("LARDER_FRONT__POLL", "200ms".into()));
                settings.push(("LARDER_SERVER__FUNCTIONS_DOMAIN", "fn.bank.test".into()));
                Some(Front::start("edge-1", &larder, &settings).await)
            }
            false => None,
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = std::fs::read(&trusted).expect("a file");
        let root = reqwest::Certificate::from_pem(&root).expect("a certificate");
        let asking = reqwest::Client::builder().tls_certs_only([root]).build().expect("a client");
        let root = asking.get(pebble.root()).send().await.expect("an answer").bytes().await.expect("a body");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&root).expect("a certificate")).expect("a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        // A session that goes on is shown no certificate.
        config.resumption = rustls::client::Resumption::disabled();
        let client = TlsConnector::from(Arc::new(config));
        Installation { larder, pebble, client, tls, redirect, options, _front: front, _folder: folder }
    }

    /// A function with a domain.
    async fn deploy(&self) {
        let api = self.larder.api();
        api.deploy("hello", &guests::guest("hello-http"), json!({ "execute": ["any"] })).await;
        api.post("/proxy/rules/function", json!({ "domain": NAME, "functionId": "hello" })).await.is(201);
    }

    fn operator(&self) -> Api {
        self.larder.operator()
    }

    async fn certificate(&self) -> Value {
        self.operator().get(&format!("/operator/certificates/{NAME}")).await.is(200)
    }

    /// Waits until the name has this state.
    async fn becomes(&self, status: &str) -> Value {
        within(Duration::from_secs(60), status, async || {
            let found = self.operator().get(&format!("/operator/certificates/{NAME}")).await;
            (found.status == 200).then(|| found.is(200)).filter(|found| found["status"] == status)
        })
        .await
    }

    /// What the function answers by TLS, and the certificate that was shown; an error if that is not good now.
    async fn call(&self, tls: u16) -> std::io::Result<(String, Vec<u8>)> {
        let (answer, shown) = self.call_as(tls, NAME, NAME).await?;
        Ok((answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(answer), shown))
    }

    /// The same for a name of the handshake, and a host of the request.
    async fn call_as(&self, tls: u16, name: &'static str, host: &str) -> std::io::Result<(String, Vec<u8>)> {
        let stream = TcpStream::connect(("127.0.0.1", tls)).await?;
        let mut stream = self.client.connect(ServerName::try_from(name).expect("a name"), stream).await?;
        let shown = stream.get_ref().1.peer_certificates().expect("a certificate")[0].to_vec();
        let request = format!("GET /hello?name=Anna HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok((answer, shown))
    }

    /// Certificates that the authority has given.
    fn issued(&self) -> usize {
        self.pebble.log().matches("Issued certificate").count()
    }
}

both!(a_name_gets_its_certificate_by_itself_and_it_is_renewed, async |on| {
    // A third of it is enough for an order on a busy machine.
    let installation = Installation::start(Options::on(on), 24, None).await;
    assert!(installation.call(installation.tls).await.is_err(), "nothing can be shown yet");
    installation.deploy().await;
    let issued = installation.becomes("valid").await;
    assert_eq!((&issued["failures"], &issued["error"]), (&json!(0), &json!("")), "{issued}");
    let (body, first) =
        eventually("the certificate to be shown", async || installation.call(installation.tls).await.ok()).await;
    assert_eq!(body, "Hello, Anna!\n");
    // Another process has it from the database, and answers challenges too.
    let beside = free_port();
    let other = match on {
        Backend::Embedded => None,
        Backend::Services => {
            let options = installation.options.clone().set("LARDER_TLS__LISTEN", format!("127.0.0.1:{beside}"));
            Some(installation.larder.start_beside(options).await)
        }
    };
    if other.is_some() {
        eventually("the other process", async || installation.call(beside).await.ok()).await;
    }
    // It is renewed at two thirds of its lifetime, and none that has run out is ever shown.
    let renewed = within(Duration::from_secs(60), "a renewal", async || {
        let (_, shown) = installation.call(installation.tls).await.expect("a certificate that is good");
        (shown != first).then_some(shown)
    });
    assert_ne!(renewed.await, first);
    let listed = installation.larder.cli(installation.larder.scratch(), &["certificates", "list"]).await;
    let (code, out, err) = listed;
    assert!(code == 0 && out.contains(NAME) && out.contains("valid"), "{out}{err}");
    let (_, metrics) = installation.larder.internal("/metrics").await;
    assert!(
        metrics.contains(&format!(r#"larder_certificate_expires_timestamp_seconds{{name="{NAME}"}}"#)),
        "{metrics}"
    );
});

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_proved_by_tls_alone() {
    let options = Options::default().set("LARDER_ACME__CHALLENGE", "tls-alpn-01");
    let installation = Installation::start(options, 3600, None).await;
    installation.deploy().await;
    installation.becomes("valid").await;
    let (body, first) = eventually("the certificate", async || installation.call(installation.tls).await.ok()).await;
    assert_eq!(body, "Hello, Anna!\n");
    // It is good for long. An operator may want another one all the same.
    assert_eq!(installation.issued(), 1, "{}", installation.pebble.log());
    installation.operator().post(&format!("/operator/certificates/{NAME}/renewal"), json!({})).await.is(200);
    within(Duration::from_secs(60), "another one", async || {
        let (_, shown) = installation.call(installation.tls).await.expect("a certificate");
        (shown != first).then_some(())
    })
    .await;
    // What nobody wants any more is forgotten.
    let rules = installation.larder.api().get("/proxy/rules").await.is(200);
    let rule = rules["rules"][0]["$id"].as_str().expect("an id").to_owned();
    installation.larder.api().delete(&format!("/proxy/rules/{rule}")).await.is(204);
    eventually("the name to be forgotten", async || {
        let found = installation.operator().get(&format!("/operator/certificates/{NAME}")).await;
        (found.status == 404).then(|| found.is_error(404, "certificate_not_found"))
    })
    .await;
    let unknown = installation.operator().post("/operator/certificates/elsewhere.example/renewal", json!({})).await;
    unknown.is_error(404, "certificate_not_found");
}

// The front has nothing of the name: it asks the core for the answer to the challenge, for the certificate, and for the next one.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_challenges_go_through_a_front() {
    for (challenge, seconds) in [("http-01", 15), ("tls-alpn-01", 3600)] {
        let options = Options::default().set("LARDER_ACME__CHALLENGE", challenge);
        let installation = Installation::start_behind(options, seconds, None, true).await;
        assert!(installation.call(installation.tls).await.is_err(), "nothing can be shown yet");
        installation.deploy().await;
        installation.becomes("valid").await;
        let (body, first) =
            eventually("the certificate to be shown", async || installation.call(installation.tls).await.ok()).await;
        assert_eq!(body, "Hello, Anna!\n", "{challenge}");
        if seconds > 60 {
            continue;
        }
        let renewed = within(Duration::from_secs(60), "the renewed one", async || {
            let (_, shown) = installation.call(installation.tls).await.expect("a certificate that is good");
            (shown != first).then_some(())
        });
        renewed.await;
        // Sent on is what is ours.
        for (host, status) in [(NAME, 308), ("elsewhere.example", 404)] {
            let client =
                reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
            let url = format!("http://127.0.0.1:{}/hello", installation.redirect);
            let answer = client.get(url).header("host", host).send().await.expect("an answer");
            assert_eq!(answer.status(), status, "{host}");
        }
        let answer = installation.call(installation.tls).await.expect("an answer").0;
        assert_eq!(answer, "Hello, Anna!\n");
    }
}

both!(nothing_is_ordered_for_a_name_that_leads_elsewhere, async |on| {
    // Somebody else's server, which says yes to everything.
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = elsewhere.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = elsewhere.accept().await {
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
        }
    });
    let installation = Installation::start(Options::on(on), 3600, Some(port)).await;
    installation.deploy().await;
    let failed = installation.becomes("failed").await;
    let why = failed["error"].as_str().expect("a reason");
    for named in
        [NAME, "does not lead here", "somebody else answers there", &format!("port {port}"), "tls.redirect_listen"]
    {
        assert!(why.contains(named), "{named}: {why}");
    }
    assert!(!installation.pebble.log().contains("/order-plz"), "{}", installation.pebble.log());
    assert!(installation.certificate().await["due"].as_str() > Some("2026"), "it is tried again later");
    // Nobody is told whether there is a challenge, for whatever name.
    for (host, token) in [(NAME, "guess"), ("elsewhere.example", "guess"), ("demo.localhost", "../../v1")] {
        let url = format!("http://127.0.0.1:{}/.well-known/acme-challenge/{token}", installation.redirect);
        let answer = reqwest::Client::new().get(url).header("host", host).send().await.expect("an answer");
        assert_eq!(answer.status(), 404, "{host} {token}");
    }
});

both!(partners_take_turns_and_what_they_order_is_counted, async |on| {
    let (folder, database) = (larder_tests::folder("larder-app-"), on.database().await);
    let mut settings = Settings::load(None, &[]).unwrap();
    settings.database.url = database.as_ref().map(|database| database.url()).unwrap_or_default();
    let store = Store::open(&settings.database, folder.path()).await.unwrap();
    let (busy, other): (PartnerId, PartnerId) = ("busy".parse().unwrap(), "other".parse().unwrap());
    for partner in [&busy, &other] {
        store.insert_partner(partner, "x", 1).await.unwrap();
    }
    let mut names: BTreeMap<String, Option<PartnerId>> =
        (0..3).map(|at| (format!("{at}.busy.test"), Some(busy.clone()))).collect();
    store.want_certificates(&names, 10).await.unwrap();
    names.extend([("z.other.test".into(), Some(other.clone())), ("root.test".into(), None)]);
    store.want_certificates(&names, 20).await.unwrap();
    // Each has a name in work at most, and whose turn it was comes last.
    let claim = async |last: &str, now| store.claim_certificate_order("h", last, now, now + 100).await.unwrap();
    let first = claim("", 30).await.expect("a claim");
    assert_eq!(first.partner, Some(busy.clone()));
    assert_eq!(claim("busy", 31).await.expect("a claim").name, "z.other.test");
    assert_eq!(claim("other", 32).await.expect("a claim").name, "root.test");
    assert_eq!(claim("", 33).await, None);
    store.fail_certificate_order(&first, "why", 1_000).await.unwrap();
    assert_eq!(claim("", 34).await.expect("a claim").name, "1.busy.test");
    // A name that another partner has now is that partner's matter.
    names.insert("2.busy.test".into(), Some(other.clone()));
    store.want_certificates(&names, 40).await.unwrap();
    let given = claim("busy", 200).await.expect("a claim");
    assert_eq!((given.partner, given.name.as_str()), (Some(other.clone()), "2.busy.test"));

    // Two of 1,000 ms. What is not bounded is counted as well.
    let order = async |id: &str, now: i64, most| {
        store.count_certificate_order(&busy, (id, "x.test"), now - 1_000, now, most).await.unwrap()
    };
    assert_eq!(order("a", 5_000, Some(2)).await, None);
    assert_eq!(order("b", 5_400, None).await, None);
    assert_eq!(order("c", 5_500, Some(2)).await, Some(5_000));
    assert_eq!(order("d", 5_600, None).await, None);
    assert_eq!(order("e", 6_001, Some(2)).await, Some(5_400), "of three the last two count");
    assert_eq!(store.certificates_ordered(&busy, 5_001).await.unwrap(), 2);
    assert_eq!(store.count_certificate_order(&other, ("a", "x.test"), 5_001, 6_001, Some(2)).await.unwrap(), None);
    assert_eq!(order("f", 6_401, Some(2)).await, None);
    assert_eq!(order("g", 6_402, Some(2)).await, Some(5_600));
});

both!(a_partner_orders_so_many_certificates_and_no_more, async |on| {
    let options =
        Options::on(on).set("LARDER_ACME__ORDERS_PER_PARTNER", "2").set("LARDER_SERVER__DOMAIN_TARGET", "bank.test");
    // The authority asks at the listener without TLS.
    let port = free_port();
    let options = Options { listen: format!("127.0.0.1:{port}"), ..options };
    let installation = Installation::start(options, 3600, Some(port)).await;
    let (api, operator) = (installation.larder.api(), installation.operator());
    installation.deploy().await;
    installation.becomes("valid").await;
    // A domain of the partner's own has a certificate by itself once it is proved.
    installation.pebble.text("_larder.shop.acme.test", "demo.bank.test").await;
    let own = api.post("/proxy/rules/site", json!({ "domain": "shop.acme.test" })).await.is(201);
    assert_eq!(own["status"], "verified", "{own}");
    let state = async |name: &str| {
        let found = operator.get(&format!("/operator/certificates/{name}")).await;
        (found.status == 200).then(|| found.is(200))
    };
    within(Duration::from_secs(60), "its certificate", async || {
        state("shop.acme.test").await.filter(|it| it["status"] == "valid")
    })
    .await;
    let first = api.get("/proxy/rules").await.is(200)["rules"][0].clone();
    assert!(first["renewAt"].as_str() > Some("2026"), "{first}");
    eventually("it to be shown", async || installation.call(installation.tls).await.ok()).await;
    // What a connection began with decides what it is for.
    const OWN: &str = "shop.acme.test";
    let (own, _) =
        eventually("its certificate", async || installation.call_as(installation.tls, OWN, OWN).await.ok()).await;
    assert!(own.starts_with("HTTP/1.1 404") && own.contains("no function serves this path"), "{own}");
    for (name, host) in [(OWN, NAME), (NAME, OWN), (OWN, "demo.localhost"), (OWN, "acme.test")] {
        let (answer, _) = installation.call_as(installation.tls, name, host).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 421"), "{name} {host}: {answer}");
    }
    // What was ordered for names that are gone counts.
    api.delete(&format!("/proxy/rules/{}", first["$id"].as_str().expect("an id"))).await.is(204);
    let third = json!({ "domain": "third.fn.bank.test", "functionId": "hello" });
    let third = api.post("/proxy/rules/function", third).await.is(201);
    let waiting = within(Duration::from_secs(60), "a reason", async || {
        state("third.fn.bank.test").await.filter(|it| it["error"] != "")
    })
    .await;
    let why = waiting["error"].as_str().expect("a reason");
    assert!(
        why.starts_with("waits: demo ordered 2 certificates in the last 7 days (acme.orders_per_partner = 2)"),
        "{why}"
    );
    assert_eq!((&waiting["status"], &waiting["failures"]), (&json!("waiting"), &json!(0)), "{waiting}");
    let told = api.get(&format!("/proxy/rules/{}", third["$id"].as_str().expect("an id"))).await.is(200);
    assert!(told["logs"].as_str().is_some_and(|logs| logs.contains(why)), "{told}");
    // Nobody else waits for it.
    let other = installation.larder.partner("other").await;
    other.deploy("hello", &guests::guest("hello-http"), json!({ "execute": ["any"] })).await;
    other.post("/proxy/rules/function", json!({ "domain": "other.fn.bank.test", "functionId": "hello" })).await.is(201);
    let others = async || state("other.fn.bank.test").await.filter(|it| it["status"] == "valid");
    within(Duration::from_secs(60), "the certificate of another partner", others).await;
    // Nobody learns by a domain of their own what answers within the operator's networks.
    installation.pebble.text("_larder.inner.other.test", "other.bank.test").await;
    installation.pebble.address("inner.other.test", "127.0.0.9").await;
    other.post("/proxy/rules/site", json!({ "domain": "inner.other.test" })).await.is(201);
    let inner = within(Duration::from_secs(60), "a refusal", async || {
        state("inner.other.test").await.filter(|it| it["error"] != "")
    })
    .await;
    assert!(inner["error"].as_str().is_some_and(|why| why.contains("in no network that was granted")), "{inner}");
    // An operator may want one all the same. Whatever is forgotten leaves memory and metrics.
    operator.post("/operator/certificates/third.fn.bank.test/renewal", json!({})).await.is(200);
    within(Duration::from_secs(60), "a certificate", async || {
        state("third.fn.bank.test").await.filter(|it| it["status"] == "valid")
    })
    .await;
    eventually("the first name to be forgotten", async || {
        let (_, metrics) = installation.larder.internal("/metrics").await;
        let shown = |name: &str| metrics.contains(&format!(r#"_timestamp_seconds{{name="{name}"}}"#));
        (!shown(NAME) && shown("shop.acme.test")).then_some(())
    })
    .await;
    assert!(installation.call(installation.tls).await.is_err(), "its certificate is not shown any more");
    assert_eq!(installation.issued(), 4, "{}", installation.pebble.log());
});

/// Certificates of two minutes, three processes of which one is killed each half minute, and calls to all of them meanwhile.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "five minutes: make certificates"]
async fn certificates_are_renewed_while_processes_die() {
    const LASTS: Duration = Duration::from_secs(300);
    let mut installation = Installation::start(Options::on(Backend::Services), 120, None).await;
    installation.deploy().await;
    installation.becomes("valid").await;
    let mut others = Vec::new();
    for port in [free_port(), free_port()] {
        let options = installation.options.clone().set("LARDER_TLS__LISTEN", format!("127.0.0.1:{port}"));
        others.push((installation.larder.start_beside(options).await, port));
    }
    let ports = [installation.tls, others[0].1, others[1].1];
    for port in ports {
        eventually("all to serve", async || installation.call(port).await.ok()).await;
    }
    let (begun, mut killed, mut calls, mut shown) = (std::time::Instant::now(), 0, 0, std::collections::HashSet::new());
    while begun.elapsed() < LASTS {
        if begun.elapsed().as_secs() / 30 > killed {
            let victim = match killed % 3 {
                0 => &mut installation.larder,
                other => &mut others[other as usize - 1].0,
            };
            victim.kill();
            victim.restart().await;
            killed += 1;
        }
        for port in ports {
            // One that was killed reads its certificate again before it is called.
            let call = async || match installation.call(port).await {
                Ok(answered) => Some(answered),
                Err(err)
                    if err.kind() == std::io::ErrorKind::InvalidData
                        && !err.to_string().contains("UnrecognisedName") =>
                {
                    panic!("a certificate that is not good: {err}")
                }
                Err(_) => None,
            };
            let (body, certificate) = eventually("an answer", call).await;
            assert_eq!(body, "Hello, Anna!\n");
            calls += 1;
            shown.insert(certificate);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Every 80 s: two orders of which one was not needed would show.
    let issued = installation.issued();
    println!("{calls} calls, {killed} kills, {issued} certificates, {} of them seen", shown.len());
    assert!(killed >= 9 && (4..=5).contains(&issued) && shown.len() == issued, "{}", installation.pebble.log());
}
