//! The wire format of lists: filters, orders, pages.

use larder_tests::{Api, Larder, both, guests};
use serde_json::{Value, json};

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

both!(lists_are_filtered_ordered_and_paged, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    for (id, name, timeout, enabled) in
        [("a", "apple", 5, true), ("b", "Banana", 10, false), ("c", "cherry", 15, true), ("d", "apple pie", 20, true)]
    {
        api.create_function(id, json!({ "name": name, "timeout": timeout, "enabled": enabled })).await.is(201);
    }
    let first = text(&api.get("/functions/b").await.is(200)["$createdAt"]).to_owned();
    let or = |queries: Value| bare("or", queries);
    for (queries, expected) in [
        (vec![], "abcd"),
        (vec![query("equal", "name", json!(["apple"]))], "a"),
        (vec![query("equal", "$id", json!(["a", "c"]))], "ac"),
        (vec![query("notEqual", "name", json!(["apple"]))], "bcd"),
        (vec![query("lessThan", "timeout", json!([10]))], "a"),
        (vec![query("lessThanEqual", "timeout", json!([10]))], "ab"),
        (vec![query("greaterThan", "timeout", json!([10]))], "cd"),
        (vec![query("greaterThanEqual", "timeout", json!([10]))], "bcd"),
        (vec![query("between", "timeout", json!([10, 15]))], "bc"),
        (vec![query("notBetween", "timeout", json!([10, 15]))], "ad"),
        (vec![query("isNull", "name", json!([]))], ""),
        (vec![query("isNotNull", "name", json!([]))], "abcd"),
        (vec![query("startsWith", "name", json!(["app"]))], "ad"),
        (vec![query("notStartsWith", "name", json!(["app"]))], "bc"),
        (vec![query("endsWith", "name", json!(["pie"]))], "d"),
        (vec![query("notEndsWith", "name", json!(["e"]))], "bc"),
        (vec![query("contains", "name", json!(["pp", "nan"]))], "abd"),
        (vec![query("containsAny", "name", json!(["rr"]))], "c"),
        (vec![query("containsAll", "name", json!(["pp", "pie"]))], "d"),
        (vec![query("notContains", "name", json!(["an"]))], "acd"),
        (vec![query("contains", "name", json!(["%"]))], ""),
        (vec![query("equal", "enabled", json!([false]))], "b"),
        (vec![query("equal", "name", json!(["' OR 1=1 --"]))], ""),
        (vec![query("greaterThanEqual", "$createdAt", json!([first])), query("equal", "$id", json!(["b"]))], "b"),
        (vec![query("lessThan", "timeout", json!([20])), query("equal", "enabled", json!([true]))], "ac"),
        (
            vec![or(json!([
                query("equal", "name", json!(["cherry"])),
                bare(
                    "and",
                    json!([query("startsWith", "name", json!(["app"])), query("equal", "timeout", json!([20]))])
                ),
            ]))],
            "cd",
        ),
        // Inner queries as text, as some clients send them.
        (
            vec![or(json!([
                query("equal", "$id", json!(["a"])).to_string(),
                query("equal", "$id", json!(["d"])).to_string()
            ]))],
            "ad",
        ),
        (vec![query("orderDesc", "timeout", json!([]))], "dcba"),
        (vec![query("orderAsc", "enabled", json!([])), query("orderDesc", "timeout", json!([]))], "bdca"),
        (vec![bare("orderDesc", json!([]))], "dcba"),
        (vec![bare("orderDesc", json!(["$id"]))], "dcba"),
        (vec![bare("limit", json!([2]))], "ab"),
        (vec![bare("limit", json!([2])), bare("offset", json!([1]))], "bc"),
        (vec![bare("cursorAfter", json!(["b"]))], "cd"),
        (vec![bare("cursorBefore", json!(["d"])), bare("limit", json!([2]))], "bc"),
        (vec![bare("cursorAfter", json!(["c"])), bare("orderDesc", json!([]))], "ba"),
        (
            vec![
                bare("cursorBefore", json!(["b"])),
                query("orderDesc", "timeout", json!([])),
                bare("limit", json!([1])),
            ],
            "c",
        ),
        (vec![bare("cursorAfter", json!(["b"])), query("equal", "enabled", json!([true]))], "cd"),
        (vec![bare("cursorAfter", json!(["d"]))], ""),
    ] {
        assert_eq!(ids(&api, &queries).await, expected, "{}", json!(queries));
    }
    // Pages forth and back, over rows that were made in the same millisecond too.
    let mut seen = String::new();
    loop {
        let mut queries = vec![bare("limit", json!([1])), query("orderDesc", "enabled", json!([]))];
        queries.extend(seen.chars().last().map(|last| bare("cursorAfter", json!([last.to_string()]))));
        let page = ids(&api, &queries).await;
        if page.is_empty() {
            break;
        }
        seen += &page;
    }
    assert_eq!(seen, "acdb");

    let page = api.list("/functions", &[bare("limit", json!([1])), bare("offset", json!([1]))]).await.is(200);
    assert_eq!(page["total"], 4, "what matches, not what the page has");
    let uncounted = api.get("/functions?total=false").await.is(200);
    assert_eq!((&uncounted["total"], uncounted["functions"].as_array().unwrap().len()), (&json!(0), 4));
    assert_eq!(api.get("/functions?search=apple").await.is(200)["total"], 2);
    let encoded = "%7B%22method%22%3A%22limit%22%2C%22values%22%3A%5B1%5D%7D";
    for spelling in ["queries[]", "queries[0]", "queries"] {
        let list = api.get(&format!("/functions?{spelling}={encoded}&other=1")).await.is(200);
        assert_eq!(list["functions"].as_array().unwrap().len(), 1, "{spelling}");
    }
    for (wrong, kind, named) in [
        (bare("limit", json!([0])), "general_argument_invalid", "limit"),
        (bare("offset", json!([-1])), "general_argument_invalid", "offset"),
        (bare("cursorAfter", json!(["none"])), "general_cursor_not_found", "cursor"),
        (query("equal", "vars", json!(["x"])), "general_argument_invalid", "vars"),
        (query("equal", "timeout", json!(["x"])), "general_argument_invalid", "timeout"),
        (query("equal", "name", json!([])), "general_argument_invalid", "equal"),
        (query("sounds", "name", json!(["x"])), "general_argument_invalid", "sounds"),
        (query("search", "name", json!(["x"])), "general_query_invalid", "name"),
        (query("startsWith", "timeout", json!(["1"])), "general_argument_invalid", "timeout"),
        (bare("or", json!([])), "general_argument_invalid", "or"),
        (json!("limit"), "general_argument_invalid", "queries"),
    ] {
        let said = api.list("/functions", std::slice::from_ref(&wrong)).await.is_error(400, kind);
        assert!(said.contains(named), "{wrong}: {said}");
    }
    let many: Vec<Value> = (0..101).map(|_| query("equal", "enabled", json!([true]))).collect();
    api.list("/functions", &many).await.is_error(400, "general_argument_invalid");
});

both!(attributes_that_no_column_has_filter_and_order_too, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("a", &guests::guest("hello-http"), json!({ "schedule": "0 0 1 1 *" })).await;
    api.create_function("b", json!({ "schedule": "0 0 1 1 *" })).await.is(201);
    // Quotes and backslashes are escaped where the path is stored.
    for (method, path) in [("GET", "/hello?name=Anna"), ("GET", "/a\"b\\c"), ("POST", "/hello")] {
        api.execute("a", json!({ "method": method, "path": path })).await;
    }
    let paths = async |queries: &[Value]| {
        let list = api.list("/functions/a/executions", queries).await.is(200);
        let paths = list["executions"].as_array().expect("a list").iter();
        let paths: Vec<&str> = paths.map(|e| e["requestPath"].as_str().expect("a path")).collect();
        paths.join(" ")
    };
    for (queries, expected) in [
        (vec![query("equal", "requestMethod", json!(["POST"]))], "/hello"),
        (vec![query("notEqual", "requestMethod", json!(["GET"]))], "/hello"),
        (vec![query("equal", "requestPath", json!(["/a\"b\\c"]))], "/a\"b\\c"),
        (vec![query("startsWith", "requestPath", json!(["/hello"]))], "/hello?name=Anna /hello"),
        (vec![query("endsWith", "requestPath", json!(["\\c"]))], "/a\"b\\c"),
        (vec![query("contains", "requestPath", json!(["name", "b\\"]))], "/hello?name=Anna /a\"b\\c"),
        (vec![query("equal", "requestPath", json!(["/hello\",\"headers\":"]))], ""),
        (vec![query("orderDesc", "requestPath", json!([]))], "/hello?name=Anna /hello /a\"b\\c"),
        (vec![query("orderDesc", "$sequence", json!([]))], "/hello /a\"b\\c /hello?name=Anna"),
        (vec![query("greaterThan", "$sequence", json!([1]))], "/hello?name=Anna /a\"b\\c /hello"),
        (vec![query("lessThan", "$sequence", json!([1]))], ""),
    ] {
        assert_eq!(paths(&queries).await, expected, "{}", json!(queries));
    }
    let size =
        api.get("/functions/a/deployments").await.is(200)["deployments"][0]["totalSize"].as_u64().expect("bytes");
    let sized = async |bytes: u64| {
        let sized = query("equal", "totalSize", json!([bytes]));
        api.list("/functions/a/deployments", &[sized]).await.is(200)["total"].clone()
    };
    assert_eq!((sized(size).await, sized(size + 1).await), (json!(1), json!(0)));
    // Only a schedule with an active deployment is armed; neither has fired.
    let now = "2026-01-01T00:00:00.000+00:00";
    assert_eq!(ids(&api, &[query("greaterThan", "scheduleNext", json!([now]))]).await, "a");
    assert_eq!(ids(&api, &[query("isNull", "scheduleNext", json!([]))]).await, "b");
    assert_eq!(ids(&api, &[query("isNull", "schedulePrevious", json!([]))]).await, "ab");
    assert_eq!(ids(&api, &[query("equal", "installationId", json!([""]))]).await, "ab");
    let variable = json!({ "variableId": "v", "key": "A", "value": "b" });
    api.post("/functions/a/variables", variable).await.is(201);
    for (word, expected) in [("function", 1), ("project", 0)] {
        let typed = query("equal", "resourceType", json!([word]));
        assert_eq!(api.list("/functions/a/variables", &[typed]).await.is(200)["total"], expected, "{word}");
    }
    // Events of functions trigger no function, under no pattern.
    for pattern in ["functions.*.executions.*.create", "functions.a", "functions"] {
        let refused = api.create_function("c", json!({ "events": [pattern] })).await;
        let said = refused.is_error(400, "general_argument_invalid");
        assert!(said.contains("`events`") && said.contains(pattern), "{said}");
    }
    // A word that the closed lists of clients have is as good as ours, and is given back.
    assert_eq!(api.create_function("c", json!({ "runtime": "static-1" })).await.is(201)["runtime"], "static-1");
    api.create_function("d", json!({ "runtime": "node-22" })).await.is_error(400, "general_argument_invalid");
    assert_eq!(api.get("/functions/templates?limit=1").await.is(200), json!({ "total": 0, "templates": [] }));
    api.get("/functions/templates/starter").await.is_error(404, "function_template_not_found");
});

fn query(method: &str, attribute: &str, values: Value) -> Value {
    json!({ "method": method, "attribute": attribute, "values": values })
}

fn bare(method: &str, values: Value) -> Value {
    json!({ "method": method, "values": values })
}

/// The ids of a page, as one text.
async fn ids(api: &Api, queries: &[Value]) -> String {
    let list = api.list("/functions", queries).await.is(200);
    let ids: Vec<&str> = list["functions"].as_array().unwrap().iter().map(|f| text(&f["$id"])).collect();
    ids.join("")
}
