//! Usage of functions, by hour and by day.

use larder_tests::{Larder, both, guests};
use serde_json::{Value, json};

fn sum(series: &Value) -> u64 {
    series.as_array().expect("a series").iter().map(|point| point["value"].as_u64().expect("a number")).sum()
}

both!(usage_counts_what_is_recorded, async |on| {
    let larder = Larder::start_on(on).await;
    let api = larder.api();
    api.deploy("f", &guests::guest("hello-http"), json!({})).await;
    api.create_function("g", json!({})).await.is(201);
    let failed = api.build("g", b"\0asm, or rather not", true).await;
    assert_eq!(failed["status"], "failed");
    for _ in 0..3 {
        api.execute("f", json!({ "method": "GET", "path": "/hello" })).await;
    }
    let all = larder_tests::eventually("the records", async || {
        let all = api.get("/functions/usage").await.is(200);
        (all["executionsTotal"] == 3).then_some(all)
    })
    .await;
    assert_eq!(
        (&all["range"], &all["functionsTotal"], &all["deploymentsTotal"]),
        (&json!("30d"), &json!(2), &json!(2))
    );
    let builds =
        ["buildsTotal", "buildsSuccessTotal", "buildsFailedTotal"].map(|name| all[name].as_u64().expect("a number"));
    assert_eq!(builds, [2, 1, 1]);
    assert!(
        all["deploymentsStorageTotal"].as_u64() > Some(10_000) && all["buildsStorageTotal"].as_u64() > Some(10_000)
    );
    for (range, points) in [("24h", 24), ("30d", 30), ("90d", 90)] {
        let one = api.get(&format!("/functions/f/usage?range={range}")).await.is(200);
        assert_eq!((&one["executionsTotal"], &one["buildsTotal"]), (&json!(3), &json!(1)), "{range}");
        assert!(one.get("functionsTotal").is_none());
        for series in ["deployments", "builds", "executions", "executionsTime", "buildsStorage", "executionsMbSeconds"]
        {
            assert_eq!(one[series].as_array().expect("a series").len(), points, "{range} {series}");
        }
        assert_eq!((sum(&one["executions"]), sum(&one["buildsSuccess"])), (3, 1), "{range}");
        assert!(one["executions"][points - 1]["date"].as_str().expect("a date").ends_with(":00:00.000+00:00"));
    }
    assert_eq!(all["functions"].as_array().expect("a series").last().expect("a point")["value"], 2);
    api.get("/functions/usage?range=1y").await.is_error(400, "general_argument_invalid");
    api.get("/functions/none/usage").await.is_error(404, "function_not_found");
    let stranger = larder.partner("stranger").await;
    let nothing = stranger.get("/functions/usage").await.is(200);
    assert_eq!((&nothing["functionsTotal"], &nothing["executionsTotal"]), (&json!(0), &json!(0)));
});
