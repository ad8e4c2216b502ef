//! The rules that [`larder_sdk::testing`] shares with the host, and how host errors reach a handler.

use larder_sdk::prelude::*;
use larder_sdk::testing::{Ended, TestEvent, TestRun};

fn sek(amount: &str) -> Result<Money, Error> {
    Ok(Money::new(amount.parse()?, "SEK".parse()?))
}

fn event() -> TestEvent {
    TestEvent::new("test.done", json!(null))
}

fn in_a_run(run: &mut TestRun, what: impl FnOnce(&mut Run) -> Result<(), Error>) -> Ended {
    run.handle(|_: Event<Value>, run: &mut Run| what(run), event())
}

fn refusal(ended: Ended) -> String {
    match ended.result {
        Err(Error::Reject(why)) => why,
        other => panic!("expected a reject: {other:?}"),
    }
}

#[test]
fn amounts_are_above_zero_and_expressible() {
    let refused = |amount: &str| {
        refusal(in_a_run(&mut TestRun::new().enrolment("anna", "t", json!({})), |run| run.save(sek(amount)?).map(drop)))
    };
    assert_eq!(refused("0"), "cannot save 0.00 SEK: amount \"0.00\" is not more than zero");
    assert_eq!(refused("-1"), "cannot save -1.00 SEK: amount \"-1.00\" is not more than zero");
    assert_eq!(refused("1.005"), "cannot save 1.005 SEK: amount \"1.005\" has more decimals than SEK has (2)");
    assert!(refused("92233720368547758.08").ends_with("is too large"));

    let saved =
        in_a_run(&mut TestRun::new().enrolment("anna", "t", json!({})), |run| run.save(sek("1.500")?).map(drop));
    assert_eq!((saved.saved(), saved.transactions[0].end_user.as_str()), (vec!["1.50 SEK".to_owned()], "anna"));
}

#[test]
fn an_enrolled_run_saves_for_its_own_end_user_and_another_for_the_enrolled() {
    let save_for = |run: &mut TestRun, who: Option<&str>| {
        let saving = Saving::from(sek("1").unwrap());
        let saving = who.map_or(saving.clone(), |who| saving.end_user(who));
        in_a_run(run, |run| run.save(saving).map(drop))
    };
    let mut annas = TestRun::new().enrolment("anna", "t", json!({})).enrolled("bo");
    for who in ["anna", "bo"] {
        assert!(refusal(save_for(&mut annas, Some(who))).ends_with("its own end user only: leave end-user out"));
    }
    assert_eq!(save_for(&mut annas, None).transactions[0].end_user, "anna");
    let mut anyones = TestRun::new().enrolled("bo");
    assert!(refusal(save_for(&mut anyones, None)).ends_with("this run is not for an enrolment"));
    assert!(refusal(save_for(&mut anyones, Some("eve"))).ends_with("\"eve\" is not enrolled in this function"));
    assert_eq!(save_for(&mut anyones, Some("bo")).transactions[0].end_user, "bo");
}

#[test]
fn nothing_of_a_failed_run_is_applied() {
    let mut world = TestRun::new().enrolment("anna", "t", json!({})).state("count", 1);
    let work = |run: &mut Run| {
        run.save(sek("1")?)?;
        run.emit("test.saved", None, &json!({}))?;
        run.state().set("count", &2)?;
        assert_eq!(run.state().get("count")?, Some(2), "a run reads its own writes");
        Ok(())
    };
    let failed = in_a_run(&mut world, |run| work(run).and(Err(Error::retry("later"))));
    assert_eq!(
        failed,
        Ended { result: Err(Error::retry("later")), transactions: vec![], events: vec![], requests: vec![] }
    );
    assert_eq!(world.stored("count"), Some(json!(1)));

    let ended = in_a_run(&mut world, work);
    assert_eq!((ended.saved().len(), ended.events.len(), world.stored("count")), (1, 1, Some(json!(2))));
}

#[test]
fn keys_values_and_memos_have_bounds() {
    let refused = |what: fn(&mut Run) -> Result<(), Error>| {
        refusal(in_a_run(&mut TestRun::new().enrolment("anna", "t", json!({})), what))
    };
    let limit = "a".repeat(255);
    let at_limit = in_a_run(&mut TestRun::new(), |run| run.state().set(&limit, &"a".repeat(65_534)));
    assert_eq!(at_limit.result, Ok(None), "65,536 bytes with the quotes");
    assert!(refused(|run| run.state().set("", &1)).ends_with("key has 0 characters, 1 to 255 are allowed"));
    assert!(
        refused(|run| run.state().delete(&"å".repeat(256))).ends_with("key has 256 characters, 1 to 255 are allowed")
    );
    assert!(refused(|run| run.state().set("k", &"a".repeat(65_535))).ends_with("65537 bytes, up to 65536 are allowed"));
    assert!(
        refused(|run| run.save(sek("1")?.memo("å".repeat(201))).map(drop))
            .ends_with("memo has 201 characters, 0 to 200 are allowed")
    );
}

#[test]
fn emitted_events_have_a_type_in_dotted_words_and_printable_texts() {
    let emit = |type_: &str, subject: Option<&str>| {
        in_a_run(&mut TestRun::new(), |run| run.emit(type_, subject, &json!({ "n": 1 })).map(drop))
    };
    assert_eq!(emit("savings.goal", Some("anna")).events[0].data, json!({ "n": 1 }));
    for type_ in ["", "savings goal", "savings..goal", ".", "sparmål"] {
        assert!(refusal(emit(type_, None)).starts_with(&format!("cannot emit {type_}: type ")), "{type_:?}");
    }
    for odd in ["a\u{7}", "\u{202e}a"] {
        assert!(refusal(emit("savings.goal", Some(odd))).contains("subject has a control character"), "{odd:?}");
    }
    assert!(refusal(emit("savings.goal", Some(""))).ends_with("subject has 0 characters, 1 to 255 are allowed"));
}

#[test]
fn counters_add_up_and_refuse_what_is_no_number() {
    let mut world = TestRun::new().state("text", "hello");
    let ended = in_a_run(&mut world, |run| {
        run.state().increment("n", 5)?;
        run.state().increment("n", -7)?;
        assert_eq!(run.state().get::<i64>("n")?, Some(-2));
        Ok(())
    });
    assert_eq!((ended.result, world.stored("n")), (Ok(None), Some(json!(-2))));
    let no_number = in_a_run(&mut world, |run| run.state().increment("text", 1));
    assert_eq!(refusal(no_number), "cannot increment state \"text\": the value of \"text\" is not a whole number");
}

#[test]
fn lists_go_by_prefix_in_pages_of_a_hundred() {
    let mut world = TestRun::new().state("b", 0);
    let ended = in_a_run(&mut world, |run| {
        for n in 0..150 {
            run.state().set(&format!("a/{n:03}"), &n)?;
        }
        let first: Vec<(String, u32)> = run.state().list("a/", None)?;
        assert_eq!((first.len(), &first[99].0[..]), (100, "a/099"));
        let second: Vec<(String, u32)> = run.state().list("a/", Some(&first[99].0))?;
        assert_eq!((second.len(), second[0].1), (50, 100));
        Ok(())
    });
    assert_eq!(ended.result, Ok(None));
}

#[test]
fn data_that_does_not_fit_is_rejected_by_name() {
    #[derive(Debug, Deserialize)]
    struct Purchase {
        #[serde(flatten)]
        _price: Money,
    }
    let handle = |event| refusal(TestRun::new().handle(|_: Event<Purchase>, _: &mut Run| Ok(()), event));
    assert_eq!(
        handle(TestEvent::new("card.purchase", json!({ "amount": "1" }))),
        "the data of event test-1 does not fit: missing field `currency` at line 1 column 14"
    );
    assert!(handle(event().raw_data("application/json", b"{")).contains("EOF while parsing"));
    assert_eq!(handle(event().raw_data("text/csv", b"1,2")), "the data of event test-1 is text/csv, not JSON");

    let ok = |media_type| {
        let event = event().raw_data(media_type, br#"{"amount":1,"currency":"SEK"}"#);
        TestRun::new().handle(|_: Event<Purchase>, _: &mut Run| Ok(()), event).result
    };
    for media_type in ["", "application/json; charset=utf-8", "application/cloudevents+json"] {
        assert_eq!(ok(media_type), Ok(None), "{media_type:?}");
    }
    let none = TestRun::new().handle(|e: Event<Option<u8>>, _: &mut Run| Ok(json!(e.data)), event().raw_data("", b""));
    assert_eq!(none.result, Ok(Some(b"null".to_vec())), "no data reads as null");
}

#[test]
fn other_errors_become_rejects_and_settings_name_whose_they_are() {
    let parse = in_a_run(&mut TestRun::new(), |_| Ok("x".parse::<u8>().map(drop)?));
    assert_eq!(refusal(parse), "invalid digit found in string");
    let outside = in_a_run(&mut TestRun::new(), |run| run.enrolment().map(drop));
    assert!(refusal(outside).contains("per = \"enrolment\" in larder.toml"));

    #[derive(Deserialize)]
    struct Settings {
        _stake: Decimal,
    }
    let unfit = in_a_run(&mut TestRun::new().enrolment("anna", "t", json!({ "_stake": "much" })), |run| {
        run.enrolment()?.settings::<Settings>().map(drop)
    });
    assert!(refusal(unfit).starts_with("the settings of the enrolment of anna do not fit: "));
}

#[test]
fn days_are_read_from_times_and_nonsense_is_refused() {
    let at = |time: &str| {
        let ended = TestRun::new()
            .handle(|e: Event<Value>, _: &mut Run| Ok(json!([e.date()?, e.month()?])), event().time(time));
        ended.result.map(|answer| String::from_utf8(answer.unwrap()).unwrap())
    };
    assert_eq!(at("2026-11-25T23:30:00Z").unwrap(), r#"["2026-11-25","2026-11"]"#);
    for wrong in ["", "2026-11-25", "25 November 2026 at noon", "2026-1१-25T00:00:00Z"] {
        assert_eq!(at(wrong), Err(Error::reject(format!("{wrong:?} is not an RFC 3339 time"))));
    }
    let firing = Firing { nominal: "2026-11-25T00:30:00+01:00".into(), timezone: "Europe/Stockholm".into() };
    assert_eq!(firing.date(), Ok("2026-11-25"), "the day of its own time zone, though UTC's is the 24th");
}

#[test]
#[should_panic(expected = "missing field `id`")]
fn an_event_file_without_an_id_is_none() {
    TestEvent::from_json(r#"{"specversion":"1.0","source":"/s","type":"t","time":"2026-11-21T12:00:00Z"}"#);
}

/// RFC 4231, test cases 2 and 6: a key shorter and one longer than a block.
#[test]
fn signatures_are_hmac_sha256_under_the_upstreams_key() {
    let mut run = TestRun::new().signing_key("short", b"Jefe").signing_key("long", &[0xaa; 131]);
    let signed = |run: &mut TestRun, upstream: &'static str, data: &'static str| {
        run.handle(move |_: Event<Value>, run: &mut Run| run.sign(upstream, data), event()).result
    };
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        hex(signed(&mut run, "short", "what do ya want for nothing?").unwrap().unwrap()),
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    );
    assert_eq!(
        hex(signed(&mut run, "long", "Test Using Larger Than Block-Size Key - Hash Key First").unwrap().unwrap()),
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
    );
    let unknown = signed(&mut run, "other", "x").unwrap_err();
    assert!(unknown.to_string().contains("cannot sign for other"), "{unknown}");
}

#[test]
fn outside_services_are_played_back_and_what_they_say_becomes_retry_or_reject() {
    const URL: &str = "http://aggregator.upstream/standings";
    let read = |run: &mut Run| run.get(URL)?.json::<Vec<u32>>().map(drop);
    let with = |status: u16, body: Value| TestRun::new().answers(&format!("GET {URL}"), status, body);
    let ended = in_a_run(&mut with(200, json!([1, 2])), read);
    assert_eq!((ended.result, ended.requests.len()), (Ok(None), 1));
    for status in [408, 425, 429, 500, 503] {
        let ended = in_a_run(&mut with(status, json!(null)), read);
        assert_eq!(ended.result, Err(Error::retry(format!("GET {URL} was answered {status}"))));
        assert_eq!(ended.requests.len(), 1, "it went out all the same");
    }
    for status in [302, 400, 401, 404] {
        assert_eq!(refusal(in_a_run(&mut with(status, json!(null)), read)), format!("GET {URL} was answered {status}"));
    }
    let misfit = refusal(in_a_run(&mut with(200, json!({ "a": 1 })), read));
    assert!(misfit.starts_with(&format!("the answer to GET {URL} does not fit: ")), "{misfit}");
    let lost = in_a_run(&mut TestRun::new().unanswered(&format!("GET {URL}")), read).result;
    assert!(matches!(lost, Err(Error::Retry(_))), "{lost:?}");
    let unknown = refusal(in_a_run(&mut TestRun::new(), read));
    assert!(unknown.contains("not granted"), "{unknown}");
    let small = |run: &mut Run| run.send(&Request::get(URL).bytes_max(3)).map(drop);
    let long = refusal(in_a_run(&mut with(200, json!([1, 2])), small));
    assert!(long.contains("more than 3 bytes"), "{long}");
}
