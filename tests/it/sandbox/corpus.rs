//! Every attack of the corpus once, on both databases; `make hostile` has them many times, with measures.

use larder_tests::both;
use larder_tests::hostile::Arena;
use larder_tests::hostile::corpus::{self, Ends};

both!(every_attack_ends_as_expected, async |on| {
    let arena = Arena::new(on).await;
    let entries = corpus::all();
    assert!(entries.len() > 100, "{} entries", entries.len());
    let mut wrong = Vec::new();
    for entry in &entries {
        match (arena.deploy(entry).await, &entry.ends) {
            (Some(words), Ends::Refused(expected))
                if words.starts_with("error: ") && words.contains(expected.as_str()) => {}
            (Some(words), _) => wrong.push(format!("{}: {words}", entry.name)),
            (None, _) => {
                let attacked = arena.attack(entry).await;
                if !attacked.fine {
                    wrong.push(format!("{}: {}", entry.name, attacked.got.chars().take(300).collect::<String>()));
                }
            }
        }
        if let Err(why) = arena.is_well().await {
            panic!("after {}: {why}", entry.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
});
