//! Uploads to YouTube, against a server that behaves as documented and misbehaves when told to.

use moa_core::machine::Outcome;
use moa_core::step::ErrorKind;
use moa_ports::agent::{Task, Worker as _};
use serde_json::{Value as Json, json};

use crate::harness::{World, failed, output, until};
use crate::youtube_server::{CLIENT_SECRET, Fault, REFRESH_TOKEN, Server};

const KIB: usize = 1024;

/// A project with a video in it, and a server.
struct Stage {
    world: World,
    server: Server,
    bytes: Vec<u8>,
}

impl Stage {
    /// A video of five chunks, the last of them a small one.
    fn new() -> Self {
        let server = Server::start();
        let world = World::with_secrets(server.secrets());
        // No two parts of it are the same, so that a mistake in an offset is seen.
        let bytes: Vec<u8> = (0u32..(1024 * 1024 + 777) / 4)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        std::fs::write(world.path("video.mp4"), &bytes).expect("written");
        std::fs::write(world.path("thumb.png"), b"\x89PNG picture").expect("written");
        Self { world, server, bytes }
    }

    fn task(&self, action: &str, more: Json) -> Task {
        let mut params = json!({
            "file": "video.mp4",
            "title": "Ohm's law",
            "description": "What voltage does.",
            "tags": ["ohms law"],
            "category": "27",
            "privacy": "unlisted",
            "key": "video-1",
            "chunk_kib": 256,
        });
        if action != "upload" && action != "find" {
            params = json!({});
        }
        for (name, value) in more.as_object().expect("an object") {
            params[name] = value.clone();
        }
        Task { action: action.to_owned(), ..self.world.task("youtube", params) }
    }

    fn upload(&self) -> Task {
        self.task("upload", json!({}))
    }

    fn run(&self, task: &Task) -> Outcome {
        self.world.run(task.clone())
    }

    /// The one video that the channel has is the file, whole.
    #[track_caller]
    fn has_it_once(&self) {
        let state = self.server.state();
        assert_eq!(state.videos.len(), 1, "{:#?}", state.seen);
        assert!(state.videos[0].bytes == self.bytes, "the bytes are others: {:#?}", state.seen);
    }

    fn seen(&self, start: &str) -> usize {
        self.server.state().seen.iter().filter(|seen| seen.starts_with(start)).count()
    }
}

#[test]
fn a_video_is_uploaded_in_chunks_with_what_it_is_called() {
    let stage = Stage::new();
    let task = stage.task("upload", json!({"thumbnail": "thumb.png"}));
    let given = output(stage.run(&task));
    stage.has_it_once();
    assert_eq!(given["video_id"], "vid1");
    assert_eq!(given["url"], "https://www.youtube.com/watch?v=vid1");
    assert_eq!((&given["privacy"], &given["thumbnail"]), (&"unlisted".into(), &"set".into()));
    assert_eq!((&given["bytes"], &given["resumed"]), (&stage.bytes.len().into(), &false.into()));
    assert_eq!(stage.seen("PUT /session/s1 bytes "), 5);
    let video = stage.server.state().videos[0].clone();
    assert_eq!(video.thumbnail.as_deref(), Some(&b"\x89PNG picture"[..]));
    assert_eq!(video.resource["snippet"]["title"], "Ohm's law");
    assert_eq!(video.resource["snippet"]["categoryId"], "27");
    assert_eq!(video.resource["status"]["privacyStatus"], "unlisted");
    assert_eq!(video.resource["snippet"]["tags"], json!(["ohms law", given["tag"]]));

    // Asked again, by another step too, it is the same video.
    assert_eq!(output(stage.run(&task))["video_id"], "vid1");
    assert_eq!(output(stage.run(&stage.upload()))["resumed"], true);
    stage.has_it_once();
    assert_eq!(stage.server.state().tokens, 1, "a token is used as long as it lives");
}

#[test]
fn a_connection_cut_in_mid_chunk_is_resumed_from_what_arrived() {
    let stage = Stage::new();
    stage.server.order(&[Fault::Cut(100 * KIB)]);
    output(stage.run(&stage.upload()));
    stage.has_it_once();
    // Nothing of the cut chunk was kept, and the session was asked once.
    assert_eq!(stage.seen("PUT /session/s1 bytes */"), 1);

    let stage = Stage::new();
    stage.server.order(&[Fault::Cut(700 * KIB), Fault::Cut(10)]);
    let task = stage.task("upload", json!({"chunk_kib": 1024}));
    output(stage.run(&task));
    stage.has_it_once();
    assert_eq!(stage.seen("PUT /session/s1 bytes 524288-"), 2, "{:?}", stage.server.state().seen);
}

#[test]
fn a_chunk_that_arrives_in_part_is_continued_where_it_ends() {
    let stage = Stage::new();
    stage.server.order(&[Fault::Partial(256 * KIB), Fault::Partial(0)]);
    let task = stage.task("upload", json!({"chunk_kib": 512}));
    output(stage.run(&task));
    stage.has_it_once();
    assert_eq!(stage.seen("PUT /session/s1 bytes 262144-786431/"), 2);
}

#[test]
fn failures_of_the_server_are_outlasted() {
    let stage = Stage::new();
    stage.server.order(&[Fault::Status(503), Fault::Status(500)]);
    output(stage.run(&stage.upload()));
    stage.has_it_once();
}

#[test]
fn a_lost_last_answer_makes_no_second_video() {
    let stage = Stage::new();
    stage.server.order(&[Fault::LoseAnswer]);
    let given = output(stage.run(&stage.upload()));
    assert_eq!(given["video_id"], "vid1");
    stage.has_it_once();
    assert_eq!(stage.seen("POST /upload/youtube/v3/videos"), 1);
}

#[test]
fn a_token_that_is_refused_is_renewed_once() {
    let stage = Stage::new();
    stage.server.order(&[Fault::Unauthorized]);
    output(stage.run(&stage.upload()));
    stage.has_it_once();
    assert_eq!(stage.server.state().tokens, 2);
    // In the middle of the upload, too.
    let stage = Stage::new();
    stage.server.order(&[Fault::Partial(256 * KIB), Fault::Unauthorized]);
    output(stage.run(&stage.upload()));
    stage.has_it_once();
    let stage = Stage::new();
    stage.server.order(&[Fault::Unauthorized, Fault::Unauthorized]);
    let why = failed(ErrorKind::Permanent, stage.run(&stage.upload()));
    assert!(why.contains("401"), "{why}");
}

#[test]
fn a_quota_that_is_used_up_waits_for_midnight_in_california() {
    let stage = Stage::new();
    stage.server.order(&[Fault::Quota]);
    match stage.run(&stage.upload()) {
        Outcome::RateLimited { error, after } => {
            assert!(error.message.contains("quotaExceeded"), "{}", error.message);
            // At most a day of 25 hours and the margin; that it is midnight is shown in `refusal`.
            assert!((60_000..=(25 * 60 + 1) * 60_000).contains(&after.0), "{after:?}");
        }
        other => panic!("{other:?}"),
    }
    output(stage.run(&stage.upload()));
    stage.has_it_once();
}

#[test]
fn an_attempt_that_was_ended_is_resumed_by_the_next_one() {
    let stage = Stage::new();
    // The upload comes to the second chunk and gets no further.
    let stuck = [Fault::Partial(256 * KIB)].into_iter().chain([Fault::Status(503); 10]);
    stage.server.order(&stuck.collect::<Vec<_>>());
    let task = stage.upload();
    stage.world.worker.start(task.clone());
    until("the server is asked again", || (stage.server.state().faults.len() < 9).then_some(()));
    stage.world.worker.stop(task.run, task.inst, task.attempt, false);
    let ended = stage.world.next().outcome;
    assert!(matches!(ended, Outcome::Cancelled), "{ended:?}");
    stage.server.state().faults.clear();

    let find = Task { action: "find".to_owned(), ..task.clone() };
    assert_eq!(output(stage.run(&find)), json!({"done": false}));
    let again = Task { attempt: 2, ..task };
    let given = output(stage.run(&again));
    assert_eq!(given["resumed"], true);
    stage.has_it_once();
    assert_eq!(stage.seen("POST /upload/youtube/v3/videos"), 1, "the session is used again");
    assert_eq!(stage.seen("PUT /session/s1 bytes 0-"), 1, "what had arrived is not sent again");
    let done = output(stage.run(&find));
    assert_eq!((&done["done"], &done["output"]["video_id"]), (&true.into(), &"vid1".into()));
}

#[test]
fn a_check_knows_an_upload_of_another_run_by_its_tag() {
    let stage = Stage::new();
    let find = stage.task("find", json!({}));
    assert_eq!(output(stage.run(&find)), json!({"done": false}));
    for n in 0..120 {
        let key = format!("other-{n}");
        let task = stage.task("upload", json!({"key": key, "chunk_kib": 2048}));
        if n == 0 {
            output(stage.run(&stage.upload()));
        }
        output(stage.run(&task));
    }
    let done = output(stage.run(&find));
    assert_eq!((&done["done"], &done["output"]["video_id"]), (&true.into(), &"vid1".into()));
    let other = stage.task("find", json!({"key": "none"}));
    assert_eq!(output(stage.run(&other)), json!({"done": false}));
}

#[test]
fn a_forgotten_session_is_begun_anew_and_another_file_gets_its_own() {
    let stage = Stage::new();
    stage.server.order(&[Fault::Partial(256 * KIB), Fault::Forget]);
    output(stage.run(&stage.upload()));
    stage.has_it_once();
    assert_eq!(stage.seen("POST /upload/youtube/v3/videos"), 2);

    let stage = Stage::new();
    let stuck = [Fault::Partial(256 * KIB)].into_iter().chain([Fault::Status(400); 1]);
    stage.server.order(&stuck.collect::<Vec<_>>());
    let task = stage.upload();
    failed(ErrorKind::Permanent, stage.run(&task));
    let mut other = stage.bytes.clone();
    other[5] ^= 1;
    std::fs::write(stage.world.path("video.mp4"), &other).expect("written");
    output(stage.run(&task));
    assert!(stage.server.state().videos[0].bytes == other);
    assert_eq!(stage.seen("POST /upload/youtube/v3/videos"), 2);
}

#[test]
fn credentials_go_nowhere_else_and_are_not_shown() {
    let stage = Stage::new();
    stage.server.order(&[Fault::Elsewhere]);
    let task = stage.upload();
    let why = failed(ErrorKind::Permanent, stage.run(&task));
    assert!(why.contains("somebody else"), "{why}");
    stage.server.state().revoked = true;
    stage.server.order(&[Fault::Unauthorized]);
    let why = failed(ErrorKind::Permanent, stage.run(&task));
    assert!(why.contains("YOUTUBE_REFRESH_TOKEN"), "{why}");
    let log = stage.world.log(&task);
    for secret in [CLIENT_SECRET, REFRESH_TOKEN, "access-1", "/session/"] {
        assert!(!why.contains(secret) && !log.contains(secret), "{secret}: {why} {log}");
    }
}

#[test]
fn without_credentials_nothing_is_asked() {
    let world = World::with_secrets([("YOUTUBE_CLIENT_ID".to_owned(), "x".to_owned())]);
    let act = |action: &str, params: Json| {
        world.run(Task { action: action.to_owned(), ..world.task("youtube", params) })
    };
    let status = output(act("status", json!({})));
    let missing = json!(["YOUTUBE_CLIENT_SECRET", "YOUTUBE_REFRESH_TOKEN"]);
    assert_eq!(status, json!({"configured": false, "missing": missing}));
    let why = failed(ErrorKind::Permanent, act("upload", json!({"file": "v.mp4", "title": "t"})));
    assert!(why.contains("YOUTUBE_CLIENT_SECRET") && why.contains(".env"), "{why}");
    let stage = Stage::new();
    let status = output(stage.run(&stage.task("status", json!({}))));
    assert_eq!(status, json!({"configured": true, "missing": []}));
    assert_eq!(stage.server.state().seen.len(), 0);
    let other = stage.task("status", json!({"account": "SECOND"}));
    assert_eq!(output(stage.run(&other))["configured"], false);
}

#[test]
fn what_cannot_be_uploaded_is_refused_before_anybody_is_asked() {
    let stage = Stage::new();
    std::fs::write(stage.world.path("empty.mp4"), b"").expect("written");
    std::os::unix::fs::symlink("/etc/passwd", stage.world.path("link.mp4")).expect("link");
    for (more, word) in [
        (json!({"file": "../x.mp4"}), "outside"),
        (json!({"file": "link.mp4"}), "outside"),
        (json!({"file": "none.mp4"}), "none.mp4"),
        (json!({"file": "empty.mp4"}), "empty"),
        (json!({"title": "a < b"}), "title"),
        (json!({"chunk_kib": 300}), "chunk_kib"),
        (json!({"thumbnail": "../x.png"}), "outside"),
    ] {
        let why = failed(ErrorKind::Permanent, stage.run(&stage.task("upload", more)));
        assert!(why.contains(word), "{why}");
    }
    assert_eq!(stage.server.state().seen.len(), 0);
}

#[test]
fn statistics_become_a_table() {
    let stage = Stage::new();
    output(stage.run(&stage.upload()));
    let params = json!({"ids": ["vid1", "gone"], "save_as": "data/youtube.tsv"});
    let given = output(stage.run(&stage.task("statistics", params)));
    let views = stage.bytes.len() % 1000;
    let row = json!({"id": "vid1", "views": views, "likes": 3, "comments": null});
    assert_eq!(given, json!({"videos": [row], "missing": ["gone"]}));
    let table = std::fs::read_to_string(stage.world.path("data/youtube.tsv")).expect("a table");
    assert_eq!(table, format!("vid1\t{views}\t3\t0\n"));
    let outside = stage.task("statistics", json!({"ids": ["vid1"], "save_as": "../x.tsv"}));
    assert!(failed(ErrorKind::Permanent, stage.run(&outside)).contains("outside"));
}
