//! Artifacts are run only under their seal; whatever else lies there is compiled again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use larder_model::{End, Limits};
use larder_runtime::{CompileError, LoadError, Runtime};

use crate::guests::{self, ANSWERS, ECHOES};
use crate::{Bench, Upload, event, run, settings};

pub fn files(t: &Bench, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(t.folder.path().join("artifacts")).unwrap();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|it| it == extension));
    found.sort();
    found
}

async fn answer(t: &Bench, upload: &Upload) -> Vec<u8> {
    let program = t.runtime.load(&upload.digest, upload).await.unwrap();
    match program.run(event(b"echoed"), run(Limits::DEFAULT)).await.end {
        End::Returned(Some(answer)) => answer,
        _ => panic!("no answer"),
    }
}

fn change(path: &PathBuf, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn sealed_artifact_is_loaded_without_its_upload() {
    let t = Bench::new();
    let upload = Upload::of(guests::typed(ANSWERS));
    let artifact = t.runtime.compile(upload.bytes.clone()).await.unwrap();
    assert!(artifact.exports.handler && !artifact.exports.http && artifact.may_have_effects);
    assert_eq!(artifact.digest, upload.digest.to_string());
    assert!(t.runtime.loaded(&upload.digest).is_none());
    assert_eq!(answer(&t, &upload).await, b"value");
    assert!(t.runtime.loaded(&upload.digest).is_some());
    let next = Bench::within(&t.folder);
    assert_eq!(answer(&next, &upload).await, b"value");
    assert_eq!(upload.asked(), 0);
}

#[tokio::test]
async fn concurrent_loads_are_coalesced() {
    let t = Bench::new();
    let upload = Arc::new(Upload::of(guests::typed(ANSWERS)));
    let loads = (0..20).map(|_| {
        let (runtime, upload) = (t.runtime.clone(), upload.clone());
        tokio::spawn(async move { runtime.load(&upload.digest, &*upload).await.map(drop) })
    });
    for load in loads.collect::<Vec<_>>() {
        load.await.unwrap().unwrap();
    }
    assert_eq!(upload.asked(), 1);
}

#[tokio::test]
async fn tampered_artifact_is_compiled_again() {
    let upload = Upload::of(guests::typed(ANSWERS));
    let t = Bench::new();
    t.runtime.compile(upload.bytes.clone()).await.unwrap();
    let (code, sidecar) = (files(&t, "cwasm").remove(0), files(&t, "json").remove(0));
    type Harm<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let harms: Vec<Harm<'_>> = vec![
        ("flipped code", Box::new(|| change(&code, |bytes| bytes[5_000] ^= 1))),
        ("flipped last byte", Box::new(|| change(&code, |bytes| *bytes.last_mut().unwrap() ^= 1))),
        ("truncated code", Box::new(|| change(&code, |bytes| bytes.truncate(bytes.len() - 1)))),
        ("longer code", Box::new(|| change(&code, |bytes| bytes.push(0)))),
        ("empty code", Box::new(|| change(&code, Vec::clear))),
        (
            "code that others may change",
            Box::new(|| fs::set_permissions(&code, fs::Permissions::from_mode(0o622)).unwrap()),
        ),
        ("missing code", Box::new(|| fs::remove_file(&code).unwrap())),
        ("missing sidecar", Box::new(|| fs::remove_file(&sidecar).unwrap())),
        ("truncated sidecar", Box::new(|| change(&sidecar, |bytes| bytes.truncate(20)))),
        (
            "other metadata",
            Box::new(|| {
                change(&sidecar, |bytes| {
                    let text = String::from_utf8(bytes.clone()).unwrap();
                    let changed = text.replace(r#""may_have_effects":true"#, r#""may_have_effects":false"#);
                    assert_ne!(text, changed);
                    *bytes = changed.into_bytes();
                })
            }),
        ),
    ];
    for (times, (name, harm)) in harms.iter().enumerate() {
        harm();
        // A process that looked before must notice as well as one that did not.
        let seen_before = Bench { runtime: t.runtime.clone(), folder: t.folder.clone() };
        let next = Bench::within(&t.folder);
        assert_eq!(answer(&next, &upload).await, b"value", "{name}");
        assert_eq!(upload.asked(), times + 1, "{name}");
        // What was made again is whole.
        seen_before.runtime.compile(upload.bytes.clone()).await.unwrap();
        assert_eq!(answer(&Bench::within(&t.folder), &upload).await, b"value", "{name}");
        assert_eq!(upload.asked(), times + 1, "{name}");
    }
}

#[tokio::test]
async fn artifact_is_bound_to_its_upload_and_installation() {
    let t = Bench::new();
    let (answers, echoes) = (Upload::of(guests::typed(ANSWERS)), Upload::of(guests::typed(ECHOES)));
    for upload in [&answers, &echoes] {
        t.runtime.compile(upload.bytes.clone()).await.unwrap();
    }
    for extension in ["cwasm", "json"] {
        let files = files(&t, extension);
        let aside = files[0].with_extension("aside");
        for (from, to) in [(&files[0], &aside), (&files[1], &files[0]), (&aside, &files[1])] {
            fs::rename(from, to).unwrap();
        }
    }
    let next = Bench::within(&t.folder);
    assert_eq!(answer(&next, &answers).await, b"value");
    assert_eq!(answer(&next, &echoes).await, b"echoed");
    assert_eq!((answers.asked(), echoes.asked()), (1, 1));

    let mut other = settings(t.folder.path());
    other.seal_key = [8; 32];
    let other = Bench { runtime: Runtime::new(other).unwrap(), folder: t.folder.clone() };
    assert_eq!(answer(&other, &answers).await, b"value");
    assert_eq!(answers.asked(), 2);
}

#[tokio::test]
async fn source_with_other_bytes_is_refused() {
    let t = Bench::new();
    let mut upload = Upload::of(guests::typed(ANSWERS));
    upload.bytes = guests::typed(ECHOES).into();
    let refused = t.runtime.load(&upload.digest, &upload).await.map(drop);
    assert!(matches!(refused, Err(LoadError::Source(why)) if why.contains("not those of")));
}

#[tokio::test]
async fn cache_folder_writable_by_others_is_refused() {
    let t = Bench::new();
    fs::set_permissions(t.folder.path().join("artifacts"), fs::Permissions::from_mode(0o777)).unwrap();
    let refused = Runtime::new(settings(t.folder.path())).map(drop).unwrap_err();
    assert!(refused.contains("mode 777"), "{refused}");
}

#[tokio::test]
async fn broken_upload_fails_every_waiting_load() {
    let t = Bench::new();
    let upload = Upload::of(b"\0asm".to_vec());
    for _ in 0..2 {
        let failed = t.runtime.load(&upload.digest, &upload).await.map(drop);
        assert!(matches!(failed, Err(LoadError::Compile(CompileError::Rejected(_)))));
    }
}
