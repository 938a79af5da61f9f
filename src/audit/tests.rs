use std::io::Cursor;

use super::line::{Broken, GENESIS, Line};
use super::prove::{Named, prove, verify, walk};
use super::*;

fn clock() -> Arc<Clock> {
    Arc::new(Clock::by_hand(Timestamp::parse("2025-05-13T12:00:00Z").unwrap()))
}

fn journey(number: u8) -> JourneyToken {
    JourneyToken::parse(&format!("00000000-0000-4000-8000-{number:012}")).unwrap()
}

fn names() -> Names {
    Names::under("key-1")
}

fn open(file: &Path, rotate_size: Option<u64>) -> Result<Audit, Unusable> {
    Audit::open(&Settings { file: file.to_owned(), refuse: true, rotate_size }, names(), clock())
}

/// Records these lines in one run of the gateway.
fn keep(file: &Path, entries: &[Entry<'_>]) {
    let audit = open(file, None).unwrap();
    entries.iter().for_each(|entry| audit.note(*entry));
    audit.close();
}

fn lines(file: &Path) -> Vec<Line> {
    std::fs::read_to_string(file).unwrap().lines().map(|line| Line::read(line).unwrap()).collect()
}

fn verified(text: &str) -> (bool, String) {
    let mut out = Vec::new();
    let file = Named { name: "audit".to_owned(), lines: Cursor::new(text.to_owned()) };
    let holds = verify(file, &mut out).unwrap();
    (holds, String::from_utf8(out).unwrap())
}

fn proved(files: &[&str]) -> (bool, String) {
    let named =
        |(at, text): (usize, &&str)| Named { name: format!("file{at}"), lines: Cursor::new((*text).to_owned()) };
    let mut out = Vec::new();
    let holds = prove(&names().of(&journey(1)), files.iter().enumerate().map(named).collect(), &mut out).unwrap();
    (holds, String::from_utf8(out).unwrap())
}

#[test]
fn a_line_has_the_members_of_the_contract_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let etag = Etag::parse("e\\1").unwrap();
    let token = journey(1);
    let at = Timestamp::parse("2025-05-13T11:59:59.5Z");
    keep(
        &file,
        &[Entry {
            journey: Some(&token),
            etag: Some(&etag),
            representation: Some(Representation::Json),
            status: Some(200),
            client: Some("local"),
            signed_at: at,
            confirmed_at: at,
            request_id: Some("r1"),
            ..Entry::of(Event::Released)
        }],
    );
    let text = std::fs::read_to_string(&file).unwrap();
    let second = text.lines().nth(1).unwrap();
    let name = names().of(&token);
    assert_eq!(name.len(), 32);
    let wanted = format!(
        "{{\"v\":1,\"seq\":2,\"time\":\"2025-05-13T12:00:00.000000000Z\",\"event\":\"released\",\"journey\":\"{name}\",\
         \"etag\":\"e\\\\1\",\"representation\":\"json\",\"status\":200,\"client\":\"local\",\"reason\":null,\
         \"signed_at\":\"2025-05-13T11:59:59.500000000Z\",\"confirmed_at\":\"2025-05-13T11:59:59.500000000Z\",\
         \"request_id\":\"r1\",\"prev\":\""
    );
    assert!(second.starts_with(&wanted), "{second}");
    let first = Line::read(text.lines().next().unwrap()).unwrap();
    assert_eq!((first.event, first.prev.as_str(), first.seq), (Event::Started, GENESIS, 1));
    assert_eq!(Line::read(second).unwrap().prev, first.hash);
    assert!(text.ends_with('\n') && verified(&text).0);
}

#[test]
fn a_restart_goes_on_with_the_chain() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    keep(&file, &[]);
    keep(&file, &[Entry::of(Event::Purged)]);
    let events: Vec<_> = lines(&file).iter().map(|line| line.event).collect();
    assert_eq!(events, [Event::Started, Event::Stopped, Event::Started, Event::Purged, Event::Stopped]);
    assert!(verified(&std::fs::read_to_string(&file).unwrap()).0);
}

#[test]
fn a_torn_last_line_goes_and_a_whole_one_without_its_end_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    keep(&file, &[Entry::of(Event::Purged)]);
    let whole = std::fs::read_to_string(&file).unwrap();
    let last = whole.lines().last().unwrap().len();
    for cut in 0..=last + 1 {
        std::fs::write(&file, &whole[..whole.len() - cut]).unwrap();
        keep(&file, &[]);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(verified(&text).0, "{text}");
        let kept = if cut <= 1 { 3 } else { 2 };
        assert_eq!(text.lines().count(), kept + 2, "cut by {cut}");
    }
    std::fs::write(&file, "something else\n").unwrap();
    assert_eq!(open(&file, None).err(), Some(Unusable::NoRecord));
}

#[test]
fn a_second_writer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let first = open(&file, None).unwrap();
    assert_eq!(open(&file, None).err(), Some(Unusable::Locked));
    first.close();
    assert!(open(&file, None).is_ok());
}

#[test]
fn a_new_file_carries_the_chain_on_by_size_and_after_a_rename() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let audit = open(&file, Some(2000)).unwrap();
    for _ in 0..20 {
        audit.note(Entry::of(Event::Purged));
    }
    audit.close();
    let audit = open(&file, None).unwrap();
    std::fs::rename(&file, folder.path().join("audit.jsonl.old")).unwrap();
    audit.reopen();
    audit.close();
    let mut files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() > 3, "{files:?}");
    let texts: Vec<_> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let texts: Vec<_> = texts.iter().map(String::as_str).collect();
    let (holds, out) = proved(&texts);
    assert!(holds, "{out}");
    assert!(texts.iter().all(|text| verified(text).0));
    let (holds, out) = proved(&[&texts[..2], &texts[3..]].concat());
    assert!(!holds && out.contains("not the whole history"), "{out}");
}

#[tokio::test]
async fn what_cannot_be_written_is_said_and_a_decision_that_fell_is_not_written() {
    let full = Path::new("/dev/full");
    for (refuse, wanted) in [(true, Err(Unrecorded)), (false, Ok(()))] {
        let settings = Settings { file: full.to_owned(), refuse, rotate_size: None };
        let audit = Audit::open(&settings, names(), clock()).unwrap();
        let receipt = audit.record(Entry::of(Event::Released), || true).unwrap();
        assert_eq!(receipt.written().await, wanted);
        let standing = audit.standing().unwrap();
        assert!(!standing.is_writable && standing.failures >= 2, "{standing:?}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let audit = open(&file, None).unwrap();
    assert!(audit.record(Entry::of(Event::Released), || false).is_none());
    audit.close();
    assert_eq!(lines(&file).len(), 2);
}

#[test]
fn the_first_line_that_breaks_the_chain_is_named_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    keep(&file, &[Entry::of(Event::Purged), Entry::of(Event::Purged)]);
    let text = std::fs::read_to_string(&file).unwrap();
    let all: Vec<_> = text.split_inclusive('\n').collect();
    let without = |gone: usize| -> String {
        all.iter().enumerate().filter(|(at, _)| *at != gone).map(|(_, line)| *line).collect()
    };
    for (damaged, line, why) in [
        (text.replacen("purged", "refused", 1), 2, Broken::Changed),
        (without(1), 2, Broken::Unchained),
        (format!("{}{}{}{}", all[0], all[2], all[1], all[3]), 2, Broken::Unchained),
        (format!("{}{}{}", all[0], all[0], all[1]), 2, Broken::Unchained),
        (text.replacen("\"v\":1,", "\"v\":1, ", 1), 1, Broken::Changed),
        (text.replacen('{', "", 1), 1, Broken::Unreadable),
        (format!("{text}{{"), 5, Broken::Unreadable),
        (format!("{}\n{}", all[0], all[1]), 2, Broken::Unreadable),
    ] {
        let (holds, out) = verified(&damaged);
        assert!(!holds && out.contains(&format!("line {line} breaks the chain: {}", why.as_str())), "{out}");
    }
    let walked = walk(Cursor::new(without(0)), None, drop).unwrap();
    assert!(walked.broken.is_none() && walked.is_continued);
    let (holds, out) = verified(&without(3));
    assert!(holds && out.contains("cut off at the end cannot be seen"), "{out}");
}

/// One journey's history: what happened at which second, on an answer signed and asked for at which.
fn history(events: &[(Event, i64, i64)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let noon = Timestamp::parse("2025-05-13T12:00:00Z").unwrap();
    let second = |second: i64| Some(Timestamp(noon.0 + second * 1_000_000_000));
    let (one, other) = (journey(1), journey(2));
    let audit = open(&file, None).unwrap();
    for (at, (event, signed, sent)) in events.iter().enumerate() {
        let entry = Entry {
            time: second(at as i64),
            signed_at: second(*signed),
            confirmed_at: second(*sent),
            ..Entry::of(*event)
        };
        audit.note(Entry { journey: Some(&one), ..entry });
        audit.note(Entry { journey: Some(&other), signed_at: second(0), ..entry });
    }
    audit.close();
    std::fs::read_to_string(&file).unwrap()
}

#[test]
fn a_release_after_an_observed_revocation_is_a_violation_unless_later_news_lifted_it() {
    use Event::{Released, RevocationObserved, Withheld};
    for (events, holds, verdict) in [
        (&[(Released, 0, 0), (Released, 0, 0)][..], true, "no revocation was observed"),
        (&[(Released, 0, 0), (RevocationObserved, 1, 1), (Withheld, 1, 1)], true, "no image left after"),
        (&[(RevocationObserved, 0, 0), (Released, 2, 2)], true, "no image left after"),
        (&[(RevocationObserved, 0, 0), (Released, -1, 2)], false, "an image left after"),
        (&[(RevocationObserved, 0, 0), (Released, 0, 2)], false, "an image left after"),
        (&[(RevocationObserved, 0, 0), (Released, 2, 0)], false, "an image left after"),
        (&[(RevocationObserved, 5, 0), (RevocationObserved, 1, 1), (Released, 3, 3)], false, "an image left after"),
    ] {
        let (held, out) = proved(&[&history(events)]);
        assert!(held == holds && out.contains(verdict), "{events:?}: {out}");
        assert_eq!(out.contains("violation: "), !holds);
    }
}

#[test]
fn a_history_with_a_line_cut_out_proves_nothing() {
    let text = history(&[(Event::Released, 0, 0), (Event::RevocationObserved, 1, 1), (Event::Withheld, 1, 1)]);
    let cut: String = text.split_inclusive('\n').enumerate().filter(|(at, _)| *at != 3).map(|(_, line)| line).collect();
    let (holds, out) = proved(&[&cut]);
    assert!(!holds && out.contains("not the whole history"), "{out}");
}
