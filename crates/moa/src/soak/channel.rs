//! The agents of `video-production`, as a model: what they have done so far, and what they answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use moa_core::ids::RunId;
use moa_core::machine::Outcome;
use moa_core::step::{ErrorKind, StepError};
use moa_core::time::{Millis, Span};
use moa_ports::agent::Task;
use serde_json::{Value as Json, json};

use super::worker::{Model, chance, gives};
use super::{DAY, HOUR};

/// Videos that a day's quota is enough for.
const UPLOADS_MAX: usize = 6;
/// Revisions after which a video is given up.
const TRIES_MAX: u32 = 3;

/// A channel.
#[derive(Default)]
pub struct Channel {
    /// The last day on which a topic was picked.
    day: String,
    topics: u64,
    /// Videos to make, each with its revision.
    to_make: VecDeque<(String, u32)>,
    claims: BTreeMap<RunId, (String, u32, Millis)>,
    pub ready: BTreeSet<String>,
    pub published: u64,
    pub uploaded: u64,
    pub released: u64,
    pub rejected: u64,
    pub given_up: u64,
    /// From when on there are credentials for YouTube.
    youtube_from: Option<Millis>,
    /// What was asked for, without what failed before the program began.
    asked: BTreeMap<String, u64>,
}

impl Channel {
    /// A channel that has credentials for YouTube from an instant on.
    pub fn with_youtube_from(at: Millis) -> Self {
        Self { youtube_from: Some(at), ..Self::default() }
    }

    /// Each video is in one place: it waits to be made, is being made, is ready, published or given
    /// up.
    #[track_caller]
    pub fn check(&self) {
        let ready = self.ready.len() as u64;
        let unmade = (self.to_make.len() + self.claims.len()) as u64;
        assert_eq!(self.released, self.published + ready);
        assert_eq!(6 * self.topics, unmade + self.released + self.given_up);
    }

    /// How often an action was asked for.
    pub fn asked(&self, what: &str) -> u64 {
        self.asked.get(what).copied().unwrap_or(0)
    }

    /// The topic of the day. Asked again, it answers the same.
    fn pick(&mut self, params: &Json) -> Json {
        let day = params["now"].as_str().expect("an instant")[..10].to_owned();
        let is_new = day > self.day;
        if is_new {
            self.topics += 1;
            let formats = ["quiz", "story", "howto", "myth", "case", "recap"];
            let made = formats.map(|format| (format!("t{}-{format}", self.topics), 1));
            self.to_make.extend(made);
            self.day.clone_from(&day);
        }
        json!({
            "date": day, "cycle": 1 + self.topics / 90, "number": 1 + self.topics % 90,
            "slug": "ohms-law", "topic": "Ohm's law", "area": "electricity", "level": "basic",
            "atoms": ["voltage", "current"], "topics_left": 89, "topics_curated": u8::from(is_new),
        })
    }

    /// The next video; of one that a run has claimed and never gave back, after half a day.
    fn claim(&mut self, run: RunId, now: Millis) -> Json {
        let old = self.claims.iter().find(|(_, claim)| now.since(claim.2) > Span(12 * HOUR.0));
        if let Some((old, _)) = old.map(|(run, claim)| (*run, claim)) {
            self.give_back(old);
        }
        if !self.claims.contains_key(&run)
            && let Some((video, revision)) = self.to_make.pop_front()
        {
            self.claims.insert(run, (video, revision, now));
        }
        match self.claims.get(&run) {
            Some((video, revision, _)) => json!({
                "found": true, "video": video, "topic": "Ohm's law", "format": "quiz",
                "revision": revision,
            }),
            None => json!({"found": false}),
        }
    }

    fn give_back(&mut self, run: RunId) -> Json {
        let Some((video, revision, _)) = self.claims.remove(&run) else {
            return json!({"released": false});
        };
        self.to_make.push_front((video.clone(), revision));
        json!({"released": true, "video": video})
    }

    fn decide(&mut self, run: RunId, params: &Json) -> Json {
        let approved = params["approved"] == true;
        if !approved && let Some((video, revision, _)) = self.claims.remove(&run) {
            self.rejected += 1;
            match revision < TRIES_MAX {
                true => self.to_make.push_back((video, revision + 1)),
                false => self.given_up += 1,
            }
        }
        json!({
            "approved": approved, "votes_for": 4, "votes_against": 1, "abstained": 1,
            "reasons": if approved { json!([]) } else { json!(["too_long", "readability"]) },
            "videos_approved": u8::from(approved), "videos_rejected": u8::from(!approved),
        })
    }

    fn release(&mut self, run: RunId, params: &Json) -> Json {
        let video = params["video"].as_str().expect("a name").to_owned();
        // A second time after a crash: it is there already.
        if self.claims.remove(&run).is_some() {
            self.ready.insert(video.clone());
            self.released += 1;
        }
        json!({
            "video": video, "title": "What voltage really is", "rendered": "mp4", "seconds": 184,
            "quality": 91, "videos_produced": 1,
        })
    }

    fn plan(&self, params: &Json) -> Json {
        let videos: Vec<&String> = self.ready.iter().take(UPLOADS_MAX).collect();
        json!({
            "quota_day": params["now"], "waiting": self.ready.len() - videos.len(),
            "units_used": 1600 * videos.len(), "units_left": 10_000 - 1600 * videos.len(),
            "videos": videos,
        })
    }

    fn record(&mut self, params: &Json) -> Json {
        let video = params["video"].as_str().expect("a name");
        self.published += u64::from(self.ready.remove(video));
        json!({"video": video, "youtube_id": params["youtube_id"], "videos_uploaded": 1})
    }

    fn has_account(&self, now: Millis) -> bool {
        self.youtube_from.is_some_and(|from| from <= now)
    }

    fn upload(&mut self, task: &Task, now: Millis) -> (Span, Outcome) {
        // Now and then others have used up the quota, or YouTube has a bad night.
        if task.attempt == 1 && chance(task, 3, 100) == 0 {
            let error = StepError::new(ErrorKind::Retryable, "the quota of the day is used up");
            let hours = 20 + chance(task, 4, 8);
            return (Span::seconds(2), Outcome::RateLimited { error, after: Span(hours * HOUR.0) });
        }
        if chance(task, 5, 100) == 0 {
            let error = StepError::new(ErrorKind::Permanent, "YouTube refuses the file");
            return (Span::seconds(9), Outcome::Failed { error });
        }
        self.uploaded += 1;
        let id = format!("yt{}", now.0 / 1000 % DAY.0 as i64);
        gives(95, json!({"video_id": id, "url": "https://youtu.be/x"}))
    }

    fn vote(&self, task: &Task, params: &Json) -> Json {
        let vote = match chance(task, 6, 100) {
            0..=6 => "reject",
            7..=11 => "abstain",
            _ => "approve",
        };
        json!({
            "reviewer": params["reviewer"], "vote": vote, "approve": vote == "approve",
            "reason": if vote == "reject" { "too_long" } else { "" }, "remark": "measured",
        })
    }
}

impl Model for Channel {
    fn act(&mut self, task: &Task, now: Millis) -> (Span, Outcome) {
        let params = &task.params.value;
        let what = format!("{}.{}", task.agent, task.action);
        *self.asked.entry(what.clone()).or_default() += 1;
        let seconds = 2 + chance(task, 2, 40);
        let output = match what.as_str() {
            "content_curator.pick" => self.pick(params),
            "content_curator.claim" => self.claim(task.run, now),
            "content_curator.release" => self.give_back(task.run),
            "quality_review_committee.vote" => self.vote(task, params),
            "quality_review_committee.decide" => self.decide(task.run, params),
            "ab_test_orchestrator.release" => self.release(task.run, params),
            "youtube_uploader.plan" => self.plan(params),
            "youtube_uploader.record" => self.record(params),
            "youtube.status" => json!({"configured": self.has_account(now)}),
            "youtube.upload" => return self.upload(task, now),
            "youtube.find" => json!({"done": false}),
            "voice_production.produce_voice" => {
                return gives(90 + seconds, fixed(&what, params));
            }
            "video_assembly.assemble_video" => {
                return gives(300 + 10 * seconds, fixed(&what, params));
            }
            _ => fixed(&what, params),
        };
        gives(seconds, output)
    }
}

/// What is the same each time.
fn fixed(what: &str, params: &Json) -> Json {
    match what {
        "scriptwriter.generate_script" => json!({
            "video": params["video"], "script": "data/videos/v/r1/script.tsv", "format": "quiz",
            "words": 420, "segments": 9, "atoms": ["voltage", "current"],
        }),
        "instructional_designer.design" => json!({
            "plan": "data/videos/v/r1/plan.tsv", "objectives": ["name it", "measure it"],
            "prerequisites": ["current"], "seconds": 184.5, "parts": 9,
        }),
        "voice_production.produce_voice" => json!({
            "voice": "espeak-ng", "narration": "narration.txt", "audio": "voice.wav",
            "seconds": 184.5,
        }),
        "video_assembly.assemble_video" => json!({
            "rendered": "mp4", "file": "video.mp4", "frames": 18, "bytes": 4_194_304,
            "seconds": 184.5, "captions": "captions.srt",
        }),
        "video_quality_reviewer.review" => json!({
            "review": "review.json", "quality": 91, "readability": 71.5, "coverage": 1.0,
            "seconds": 184.5, "similar": 0.21, "findings": 1,
        }),
        "ab_test_orchestrator.create_variants" => json!({
            "variants": ["A", "B", "C"], "variants_created": 3,
        }),
        "youtube_uploader.publish" => json!({
            "video": params["video"], "page": "channel/videos/v/index.html", "mp4": true,
            "file": "channel/videos/v/video.mp4", "thumbnail": "channel/videos/v/thumbnail.png",
            "title": "What voltage really is", "description": "In three minutes.",
            "tags": ["electricity", "basics"], "category": "27", "privacy": "private",
            "language": "en",
        }),
        "youtube_uploader.build_index" => json!({"page": "channel/index.html", "videos": 6}),
        "youtube_uploader.tidy" => json!({"media_removed": 6}),
        "youtube.statistics" => json!({"videos": 6, "found": 6}),
        "analytics_committee.collect" => json!({
            "source": "mixed", "simulated": false, "videos": 6, "impressions": 12_000,
            "clicks": 700, "youtube_ids": ["yt1", "yt2"],
        }),
        "analytics_committee.decide_tests" => {
            json!({"tests_decided": 1, "winners_found": 1, "tests_over": 40})
        }
        "analytics_committee.flag_underperformers" => {
            json!({"underperforming": 1, "videos": ["t1-quiz"]})
        }
        "analytics_committee.recommend" => {
            json!({"report": "reports/analytics.md", "recommendations": ["more quizzes"]})
        }
        "trend_scout.analyze" => {
            json!({"week": "2026-03-15", "changes": 2, "source": "model", "proposal": "p.tsv"})
        }
        "design_committee.vote" => json!({
            "reviewer": params["reviewer"], "vote": "approve", "approve": true, "remark": "ok",
        }),
        "design_committee.publish" => {
            json!({"accepted": true, "rules_changed": 2, "guide": "CHANNEL_STYLE_GUIDE.md"})
        }
        "content_curator.analyze_gaps" => json!({
            "atoms": 55, "covered": 40, "missing": 15, "unknown": 0, "given_up": 0,
            "coverage": 0.72, "backfill_first": 3, "report": "reports/gaps.md",
        }),
        other => panic!("nobody has said what {other} answers"),
    }
}
