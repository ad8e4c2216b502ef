//! A core module that several programs contain is compiled once, and is in memory once.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use larder_model::{End, Limits};
use larder_runtime::Runtime;

use crate::artifacts::files;
use crate::{Bench, Upload, event, guests, run, settings};

async fn answer(t: &Bench, upload: &Upload) -> u8 {
    let program = t.runtime.load(&upload.digest, upload).await.unwrap();
    match program.run(event(b""), run(Limits::DEFAULT)).await.end {
        End::Returned(Some(answer)) => answer[0],
        _ => panic!("no answer"),
    }
}

/// The artifact of the module that is shared.
fn shared(t: &Bench) -> PathBuf {
    let is_module = |file: &PathBuf| file.to_string_lossy().ends_with(".module.cwasm");
    let found: Vec<PathBuf> = files(t, "cwasm").into_iter().filter(is_module).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// How many regions of this process's memory are mapped from a file.
fn mapped(file: &Path) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.ends_with(file.to_str().unwrap()) && line.contains("r-xp")).count()
}

#[tokio::test]
async fn a_second_program_of_an_engine_shares_its_code() {
    let t = Bench::new();
    let (one, two) = (Upload::of(guests::with_engine(5)), Upload::of(guests::with_engine(7)));
    let first = t.runtime.compile(one.bytes.clone()).await.unwrap();
    let engine = shared(&t);
    let made = fs::metadata(&engine).unwrap().modified().unwrap();
    let second = t.runtime.compile(two.bytes.clone()).await.unwrap();
    assert_eq!((first.shares.len(), second.shares.len()), (1, 1));
    assert_eq!(first.shares[0].digest, second.shares[0].digest);
    assert_eq!(fs::metadata(shared(&t)).unwrap().modified().unwrap(), made);
    assert!(fs::metadata(&engine).unwrap().len() > 200 << 10 && second.artifact_bytes < 200 << 10);
    assert_eq!((answer(&t, &one).await, answer(&t, &two).await), (15, 21));
    assert_eq!(mapped(&engine), 1);
    // Another process finds both, without their uploads.
    let next = Bench::within(&t.folder);
    assert_eq!((answer(&next, &one).await, answer(&next, &two).await), (15, 21));
    assert_eq!(one.asked() + two.asked(), 0);
    drop((t, next));
    assert_eq!(mapped(&engine), 0);
}

#[tokio::test]
async fn two_builds_at_once_make_it_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    // A compiler that leaves a mark each time.
    let marks = folder.path().join("marks");
    let script = format!("echo compiles >> '{}'; exec '{}'", marks.display(), settings.compiler[0].display());
    settings.compiler = vec!["/bin/sh".into(), "-c".into(), script.into()];
    settings.builds_max = 4;
    let runtime = Runtime::new(settings).unwrap();
    let uploads: Vec<Upload> = (1..5).map(|factor| Upload::of(guests::with_engine(factor))).collect();
    for artifact in join_all(uploads.iter().map(|upload| runtime.compile(upload.bytes.clone()))).await {
        assert_eq!(artifact.unwrap().shares.len(), 1);
    }
    assert_eq!(fs::read_to_string(marks).unwrap().lines().count(), uploads.len() + 1);
}

#[tokio::test]
async fn a_shared_module_that_is_lost_damaged_or_another_is_made_again() {
    let t = Bench::new();
    let upload = Upload::of(guests::with_engine(5));
    t.runtime.compile(upload.bytes.clone()).await.unwrap();
    let engine = shared(&t);
    let sidecar = engine.with_extension("json");
    // The artifact of an upload, in the place of the module's.
    let other = Upload::of(guests::typed(guests::ANSWERS));
    t.runtime.compile(other.bytes.clone()).await.unwrap();
    let foreign = t.folder.path().join("artifacts").join(other.digest.to_string());
    let flip = |file: &PathBuf| {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(file, bytes).unwrap();
    };
    type Harm<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let harms: Vec<Harm<'_>> = vec![
        ("missing code", Box::new(|| fs::remove_file(&engine).unwrap())),
        ("missing sidecar", Box::new(|| fs::remove_file(&sidecar).unwrap())),
        ("flipped code", Box::new(|| flip(&engine))),
        ("flipped sidecar", Box::new(|| flip(&sidecar))),
        (
            "another artifact",
            Box::new(|| {
                fs::copy(foreign.with_extension("cwasm"), &engine).unwrap();
                fs::copy(foreign.with_extension("json"), &sidecar).unwrap();
            }),
        ),
    ];
    for (times, (name, harm)) in harms.iter().enumerate() {
        harm();
        assert_eq!(answer(&Bench::within(&t.folder), &upload).await, 15, "{name}");
        assert_eq!(upload.asked(), times + 1, "{name}");
        // What was made again is whole.
        assert_eq!(answer(&Bench::within(&t.folder), &upload).await, 15, "{name}");
        assert_eq!(upload.asked(), times + 1, "{name}");
    }
    // And the artifact of a module, in the place of an upload's.
    for extension in ["cwasm", "json"] {
        fs::copy(engine.with_extension(extension), foreign.with_extension(extension)).unwrap();
    }
    let next = Bench::within(&t.folder);
    next.runtime.load(&other.digest, &other).await.unwrap();
    assert_eq!(other.asked(), 1);
}

#[tokio::test]
async fn idle_programs_are_given_back_and_loaded_again() {
    let t = Bench::new();
    let (one, two) = (Upload::of(guests::with_engine(5)), Upload::of(guests::with_engine(7)));
    for upload in [&one, &two] {
        t.runtime.compile(upload.bytes.clone()).await.unwrap();
        t.runtime.load(&upload.digest, upload).await.unwrap();
    }
    let engine = shared(&t);
    assert_eq!((t.runtime.forget_programs(Duration::from_secs(60)), mapped(&engine)), (0, 1));
    let held = t.runtime.load(&one.digest, &one).await.unwrap();
    assert_eq!((t.runtime.forget_programs(Duration::ZERO), mapped(&engine)), (2, 1));
    assert!(t.runtime.loaded(&one.digest).is_none() && t.runtime.loaded(&two.digest).is_none());
    drop(held);
    assert_eq!(mapped(&engine), 0);
    assert_eq!((answer(&t, &one).await, answer(&t, &two).await), (15, 21));
    assert_eq!(one.asked() + two.asked(), 0);
}

#[tokio::test]
async fn a_module_is_given_back_after_its_programs() {
    let t = Bench::new();
    let (one, two) = (Upload::of(guests::with_engine(5)), Upload::of(guests::with_engine(7)));
    let alone = Upload::of(guests::typed(guests::ANSWERS));
    for upload in [&one, &two, &alone] {
        t.runtime.compile(upload.bytes.clone()).await.unwrap();
        // Times of files are apart.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let size = |file: PathBuf| fs::metadata(file).unwrap().len();
    let all: u64 = files(&t, "cwasm").into_iter().map(size).sum();
    // The first program was used longest ago, and then the second one with its engine.
    assert_eq!(t.runtime.evict_artifacts(all - 1).await.unwrap(), 1);
    shared(&t);
    assert_eq!(answer(&t, &two).await, 21);
    assert_eq!(t.runtime.evict_artifacts(0).await.unwrap(), 3);
    assert!(files(&t, "cwasm").is_empty() && files(&t, "json").is_empty());
    // What is in memory goes on, and the rest is made again.
    assert_eq!(answer(&t, &two).await, 21);
    assert_eq!(answer(&t, &one).await, 15);
    assert_eq!((one.asked(), two.asked()), (1, 0));
}

/// The parts fit each other or the upload is compiled whole: it is refused as if nothing were shared.
#[tokio::test]
async fn refusals_are_those_of_the_whole_upload() {
    let t = Bench::new();
    let good = guests::with_engine(5);
    let at = good.windows(6).position(|bytes| bytes == [0x20, 0, 0x41, 3, 0x6c, 0x0b]).expect("the engine's code");
    // A local that is not there, in the engine's function.
    let mut bad = good.clone();
    bad[at + 1] = 9;
    let why = t.rejection(&bad).await;
    assert!(why.starts_with("it does not compile: ") && why.contains("unknown local 9"), "{why}");
    assert!(why.contains(&format!("at offset {at}:")), "the place in the upload, {at}: {why}");
    // The name under which the rest of an upload imports its module is no name that an upload can use.
    let import = format!("module-x{}", larder_model::Digest::of(b""));
    let why = t.rejection(&wat::parse_str(format!("(component (import \"{import}\" (core module)))")).unwrap()).await;
    assert!(why.contains(&import) && why.contains("which Larder does not have"), "{why}");
}
