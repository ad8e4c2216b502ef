//! Roles: what each shows and may do, at every form of a partner's console and by the API of people.

use std::collections::BTreeSet;

use larder_tests::{Larder, PASSWORD, Tab, both, guests};
use serde_json::json;

use super::{DEPO, META};

/// The routes of a partner's console that change something, as the server's own table has them.
fn forms() -> BTreeSet<String> {
    let source = include_str!("../../../host/server/src/console/depo/mod.rs");
    let routes =
        source.split(".route(").skip(1).filter(|route| route.split(".route(").next().unwrap().contains("post("));
    let path = |route: &str| route.split('"').nth(1).expect("a path").to_owned();
    routes.map(path).collect()
}

/// What a form changes, by the role that it needs: below administrator, which has all.
fn is_for(form: &str, role: &str) -> bool {
    match role {
        "administrator" => true,
        "approver" => form.ends_with("/approve"),
        "developer" => !form.ends_with("/approve"),
        _ => false,
    }
}

both!(a_role_that_needs_a_second_factor_allows_nothing_without_one, async |on| {
    let larder = Larder::start_on(on).await;
    for role in ["approver", "viewer"] {
        let email = format!("{role}@bank.example");
        larder.administrator(&email, json!([{ "partnerId": "demo", "role": role }])).await;
        let mut tab = Tab::at(&larder, DEPO.0);
        let heading = tab.sign_in(DEPO.1, &email, PASSWORD, "").await.is(200).heading();
        let person = larder.as_person("demo", &larder.sign_in(&email).await);
        if role == "approver" {
            assert_eq!(heading, "Second factor");
            person.get("/functions").await.is_error(401, "user_more_factors_required");
        } else {
            assert_eq!(heading, "Today");
            person.get("/functions").await.is(200);
        }
    }
    larder.administrator("ops@bank.example", json!([{ "role": "operator" }])).await;
    let operator = larder.person(&larder.sign_in("ops@bank.example").await);
    operator.post("/projects", json!({ "projectId": "new" })).await.is_error(401, "user_more_factors_required");
});

both!(each_role_changes_what_it_may_and_sees_the_rest, async |on| {
    let options = larder_tests::Options::on(on).set("LARDER_ADMINISTRATORS__SECOND_FACTOR_FOR", "operator");
    let larder = Larder::start_with(options).await;
    let api = larder.api();
    let hello = guests::guest("hello-http");
    api.deploy("hello", &hello, json!({ "execute": ["any"] })).await;
    api.grant("hello", json!({})).await;
    let wide = json!({ "transactions": { "SEK": { "max": "1.00", "sum": "5.00", "period": "day" } } });
    let asked = api.upload_asking("hello", &hello, true, wide).await.is(202)["$id"].as_str().unwrap().to_owned();
    let forms = forms();
    assert!(forms.len() >= 7, "{forms:?}");
    for role in ["viewer", "developer", "approver", "administrator"] {
        let email = format!("{role}@bank.example");
        larder.administrator(&email, json!([{ "partnerId": "demo", "role": role }])).await;
        let mut tab = Tab::at(&larder, DEPO.0);
        tab.sign_in(DEPO.1, &email, PASSWORD, "").await.is(200);
        // What they see: every way of the navigation.
        let page = tab.go("/depo").await.is(200);
        let token = page.field("form_token");
        for tag in page.tags().iter().filter(|tag| tag.name == "a") {
            let way = tag.attributes.get("href").filter(|to| to.starts_with("/depo"));
            if let Some(way) = way {
                tab.go(way).await.is(200);
            }
        }
        for form in &forms {
            let path: String = form
                .split('/')
                .map(|part| if part.starts_with('{') { "nothing" } else { part })
                .collect::<Vec<_>>()
                .join("/");
            let answer = tab.post(&path, &[("form_token".into(), token.clone())], "same-origin").await;
            let allowed = is_for(form, role);
            assert_eq!(answer.status == 403, !allowed, "{role} at {form}: {} {}", answer.status, answer.html);
            if !allowed {
                assert!(
                    answer.html.contains(&format!("Your role here is {role}")),
                    "{role} at {form}: {}",
                    answer.html
                );
            }
        }
        let page = tab.go(&format!("/depo/functions/hello/deployments/{asked}")).await.is(200);
        assert_eq!(page.html.contains("/approve\""), is_for("/approve", role), "{role}");
        // The same rights by the API of people.
        let person = larder.as_person("demo", &larder.sign_in(&email).await);
        person.get("/functions").await.is(200);
        let changed = person.put("/functions/hello", json!({ "name": "Hello", "execute": ["any"] })).await.status;
        assert_eq!(changed == 200, matches!(role, "developer" | "administrator"), "{role}: {changed}");
        let approved = person.put("/functions/hello/grants", json!({})).await.status;
        assert_eq!(approved == 401, !matches!(role, "approver" | "administrator"), "{role}: {approved}");
    }
    // Roles that are of another place are refused by name.
    for wrong in [json!([{ "role": "approver" }]), json!([{ "partnerId": "demo", "role": "operator" }])] {
        let body = json!({ "email": "x@bank.example", "roles": wrong });
        let said = larder.operator().post("/operator/administrators", body).await.is(400).to_string();
        assert!(said.contains("roles in a partner"), "{said}");
    }
    // A viewer of the installation sees it, and makes no partners.
    larder.administrator("looks@bank.example", json!([{ "role": "viewer" }])).await;
    let mut tab = Tab::at(&larder, META.0);
    tab.sign_in(META.1, "looks@bank.example", PASSWORD, "").await.is(200);
    tab.go("/meta_depo/processes").await.is(200);
});
