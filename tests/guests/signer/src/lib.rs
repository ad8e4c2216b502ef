//! A guest that has `data` signed for `upstream`, `times` times, and answers with the last signature in hexadecimal.

use larder_sdk::prelude::*;

#[derive(Deserialize)]
struct Wanted {
    upstream: String,
    data: String,
    #[serde(default = "once")]
    times: u32,
}

fn once() -> u32 {
    1
}

fn sign(wanted: Event<Wanted>, run: &mut Run) -> Result<String, Error> {
    let Wanted { upstream, data, times } = wanted.data;
    let mut signature = Vec::new();
    for _ in 0..times {
        signature = run.sign(&upstream, &data)?;
    }
    Ok(signature.iter().map(|byte| format!("{byte:02x}")).collect())
}

larder_sdk::function!(sign);
