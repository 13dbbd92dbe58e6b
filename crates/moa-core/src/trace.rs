//! Names of runs, steps and attempts in traces, by W3C Trace Context.
//!
//! All are derived from what the history holds, so that an agent can be told the name of its span
//! before there is one, and a span that is sent twice is the same span. The trace is the run that was
//! started from outside, or what its starter said; the runs that it starts are in it.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::InstIx;
use crate::ids::{RunId, mix};

/// Bits of a trace's name that are random by W3C Trace Context: the last seven bytes.
const RANDOM_BITS: u32 = 56;

/// The name of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// The trace of a run that was started from outside, and of all that it starts.
    pub fn of(root: RunId) -> Self {
        Self(root.0)
    }

    /// Whether it is among the share that is sent, from 0 (none) to 1 (all). Every sampler that goes
    /// by the randomness of the name, as OpenTelemetry's do, decides the same.
    pub fn is_sampled(self, share: f64) -> bool {
        let all = (1_u64 << RANDOM_BITS) as f64;
        let random = (self.0 as u64) & ((1 << RANDOM_BITS) - 1);
        random as f64 >= (1.0 - share) * all
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The name of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(u64);

impl SpanId {
    /// Of a run.
    pub fn of_run(run: RunId) -> Self {
        // No instance has this index.
        Self::derived(run, InstIx::MAX, u32::MAX)
    }

    /// Of a step instance.
    pub fn of_step(run: RunId, step: InstIx) -> Self {
        // Attempts are counted from 1.
        Self::derived(run, step, 0)
    }

    /// Of an attempt, from 1.
    pub fn of_attempt(run: RunId, step: InstIx, attempt: u32) -> Self {
        Self::derived(run, step, attempt)
    }

    /// Different for all steps and attempts of one run, because each function here is a bijection.
    fn derived(run: RunId, step: InstIx, attempt: u32) -> Self {
        let seed = mix(run.0 as u64 ^ mix((run.0 >> 64) as u64).rotate_left(7));
        let id = mix(seed ^ (u64::from(step) << 32 | u64::from(attempt)));
        // All zeros is no name.
        Self(id.max(1))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

macro_rules! hexadecimal {
    ($type:ty, $number:ty, $digits:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(d)?;
                let wrong = || serde::de::Error::custom(format!("{text:?} names no trace or span"));
                Self::from_digits(&text).ok_or_else(wrong)
            }
        }
        impl $type {
            /// The name with these digits, unless they are none of one.
            fn from_digits(text: &str) -> Option<Self> {
                let fits = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                let good = text.len() == $digits && text.bytes().all(fits);
                let number =
                    <$number>::from_str_radix(text, 16).ok().filter(|n| good && *n != 0)?;
                Some(Self(number))
            }
        }
    };
}
hexadecimal!(TraceId, u128, 32);
hexadecimal!(SpanId, u64, 16);

/// The trace that a run is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span that the run was started from, where somebody outside said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
}

/// A span of somebody else, and what was decided about its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The span.
    pub span: SpanId,
    /// Whether its trace is sent.
    pub sampled: bool,
}

impl TraceContext {
    /// The trace of a run that was started from outside by nobody who has one.
    pub fn of(root: RunId) -> Self {
        Self { trace: TraceId::of(root), caller: None }
    }

    /// What a header `traceparent` says; `None` = nothing that is understood.
    pub fn from_header(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace) = (parts.next()?, parts.next()?);
        let (span, flags) = (parts.next()?, parts.next()?);
        let hex = |text: &str| {
            let good = text.len() == 2 && text.bytes().all(|b| b.is_ascii_hexdigit());
            u8::from_str_radix(text, 16).ok().filter(|_| good)
        };
        // Later versions may say more behind it.
        if hex(version)? == 0xff || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let (trace, span) = (TraceId::from_digits(trace)?, SpanId::from_digits(span)?);
        Some(Self { trace, caller: Some(Caller { span, sampled: hex(flags)? & 1 == 1 }) })
    }

    /// The header `traceparent` of what a span calls, where this share of the traces is sent.
    pub fn header(self, span: SpanId, share: f64) -> String {
        format!("00-{}-{span}-{:02x}", self.trace, u8::from(self.is_sampled(share)))
    }

    /// Whether it is sent: as the caller's is, else with this share of all.
    pub fn is_sampled(self, share: f64) -> bool {
        self.caller.map_or_else(|| self.trace.is_sampled(share), |caller| caller.sampled)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const RUN: RunId = RunId(0x0193_5f6e_7a00_7abc_9123_4567_89ab_cdef);

    #[test]
    fn names_are_those_of_trace_context() {
        let trace = TraceId::of(RUN);
        assert_eq!(trace.to_string(), RUN.to_string().replace('-', ""));
        // Whoever was told it before an update of moa finds its parent after it.
        let span = SpanId::of_attempt(RUN, 3, 1);
        let header = format!("00-01935f6e7a007abc9123456789abcdef-{span}");
        let context = TraceContext::of(RUN);
        assert_eq!(context.header(span, 1.0), format!("{header}-01"));
        assert_eq!(context.header(span, 0.0), format!("{header}-00"));
        assert_eq!(span.to_string(), "9816b5504174d987");
    }

    #[test]
    fn what_a_caller_says_is_understood_or_passed_over() {
        let header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::from_header(header).expect("it is good");
        assert!(context.is_sampled(0.0));
        let span = context.caller.expect("there is one").span;
        assert_eq!(context.header(span, 0.0), header);
        let json = serde_json::to_string(&context).expect("JSON");
        assert_eq!(serde_json::from_str::<TraceContext>(&json).ok(), Some(context));
        let not = TraceContext::from_header(&header.replace("-01", "-00")).expect("it is good");
        assert!(!not.is_sampled(1.0));
        assert!(TraceContext::from_header(&format!("cc{}-more", &header[2..])).is_some());
        for bad in [
            "",
            "00",
            &header.replace("b7ad", "B7AD"),
            &header.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &header.replace("b7ad6b7169203331", &"0".repeat(16)),
            &header.replace("00-", "ff-"),
            &header.replace("0af7", "+af7"),
            &format!("{header}-more"),
            &header.replace("-01", "-1"),
        ] {
            assert_eq!(TraceContext::from_header(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_in_a_run_differ() {
        let mut all = BTreeSet::from([SpanId::of_run(RUN)]);
        for step in 0..200 {
            all.insert(SpanId::of_step(RUN, step));
            all.extend((1..20).map(|attempt| SpanId::of_attempt(RUN, step, attempt)));
        }
        assert_eq!(all.len(), 1 + 200 * 20);
        assert_ne!(SpanId::of_run(RUN), SpanId::of_run(RUN.child(0, 1)));
    }

    #[test]
    fn a_share_of_the_traces_is_sampled_and_always_the_same() {
        let traces = (0..10_000_u64).map(|n| {
            let random = u128::from(mix(n)) << 64 | u128::from(mix(!n));
            TraceId::of(RunId::v7(1_700_000_000_000, random))
        });
        let traces: Vec<TraceId> = traces.collect();
        let sampled = |share| traces.iter().filter(|trace| trace.is_sampled(share)).count();
        assert_eq!((sampled(0.0), sampled(1.0)), (0, 10_000));
        assert!((2_300..2_700).contains(&sampled(0.25)), "{}", sampled(0.25));
        // What is in a small share is in a larger one.
        let fits = |trace: &TraceId| !trace.is_sampled(0.1) || trace.is_sampled(0.5);
        assert!(traces.iter().all(fits));
    }
}
