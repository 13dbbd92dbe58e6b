//! An agent's limits: from its keys to the rules that the engine keeps.

use jiff::tz::TimeZone;
use moa_core::limit::{AgentLimits, BreakerSpec, Budget, OnExceed, Per, Quota, Usage, Usd};
use moa_core::time::Span;

use crate::codes;
use crate::model::agent::AgentFile;
use crate::model::limit::{BreakerText, BudgetFile, OnExceedText, PerText, QuotaFile};
use crate::read::{At, Cx};
use crate::scalar::{Duration, Short};

/// The usual breaker.
const BREAKER: BreakerSpec = BreakerSpec {
    failures: 5,
    within: Some(Span::minutes(10)),
    open_for: Span::seconds(30),
    open_for_max: Span::minutes(10),
};

/// Makes the rules, and reports those that no attempt could meet.
pub(crate) fn agent_limits(file: &AgentFile, cx: &mut Cx) -> AgentLimits {
    AgentLimits {
        rates: file.rate_limit.as_ref().map(|r| r.value.0.clone()).unwrap_or_default(),
        quota: file.quota.as_ref().and_then(|quota| self::quota(quota, file, cx)),
        budget: file.budget.as_ref().and_then(|budget| self::budget(budget, cx)),
        breaker: file.circuit_breaker.as_ref().and_then(|b| breaker(&b.value, cx)),
    }
}

fn quota(quota: &Short<At<String>, QuotaFile>, agent: &AgentFile, cx: &mut Cx) -> Option<Quota> {
    let file = match quota {
        Short::Short(text) => return short(text, cx),
        Short::Long(file) => file,
    };
    if file.units.value == 0 {
        let message = "with no units nothing could ever start".into();
        cx.error(codes::WRONG_VALUE, file.units.span.clone(), message).help("write 1 or more");
    }
    timezone(file.timezone.as_ref(), cx);
    let mut quota = Quota {
        units: u64::from(file.units.value),
        per: per(file.per.as_ref().map_or(PerText::Day, |p| p.value)),
        timezone: file.timezone.as_ref().map(|z| z.value.clone()).unwrap_or_default(),
        cost: Default::default(),
    };
    for (action, cost) in file.cost.iter().flat_map(|c| &c.0) {
        if cost.value > file.units.value {
            let message = format!(
                "`{}` costs {}, and a window has {} units: it could never start",
                action.value, cost.value, file.units.value
            );
            cx.error(codes::WRONG_VALUE, cost.span.clone(), message);
        }
        let declared = agent.actions.as_ref().map(|a| &a.0.0);
        let known =
            |names: &Vec<(At<String>, _)>| names.iter().any(|(n, _)| n.value == action.value);
        if let Some(names) = declared.filter(|names| action.value != "*" && !known(names)) {
            let message = format!("there is no action `{}`", action.value);
            let near = cx.nearest(&action.value, names.iter().map(|(n, _)| n.value.as_str()));
            let d = cx.error(codes::UNKNOWN_ACTION, action.span.clone(), message);
            if let Some(near) = near {
                d.help(format!("did you mean `{near}`?"));
            }
        }
        quota.cost.insert(action.value.clone(), u64::from(cost.value));
    }
    Some(quota)
}

fn timezone(zone: Option<&At<String>>, cx: &mut Cx) {
    if let Some(zone) = zone
        && TimeZone::get(&zone.value).is_err()
    {
        let message = format!("{:?} is not a time zone", zone.value);
        let d = cx.error(codes::WRONG_VALUE, zone.span.clone(), message);
        d.help("write an IANA name such as Europe/Berlin, or leave it out for UTC");
    }
}

fn budget(file: &BudgetFile, cx: &mut Cx) -> Option<Budget> {
    let place = file.place.span.clone();
    let (usd, tokens) = (file.usd.as_ref(), file.tokens.as_ref());
    let usage = |usd: Usd, tokens| Usage { usd, tokens };
    let amounts = [
        usd.map(|usd| (&usd.span, usage(usd.value.0, 0))),
        tokens.map(|tokens| (&tokens.span, usage(Usd(0), tokens.value))),
    ];
    for (span, amount) in amounts.into_iter().flatten() {
        if amount.is_nothing() {
            let message = "with a budget of nothing no attempt could ever start".into();
            let d = cx.error(codes::WRONG_VALUE, span.clone(), message);
            d.help("write more than 0, or leave the key out for no limit");
        } else if let Err(message) = amount.meant() {
            cx.error(codes::WRONG_VALUE, span.clone(), message);
        }
    }
    timezone(file.timezone.as_ref(), cx);
    if file.place.key("usd").is_none() && file.place.key("tokens").is_none() {
        let message = "a budget needs `usd` or `tokens`, or both".into();
        let d = cx.error(codes::MISSING_KEY, place, message);
        d.help("write {usd: 20, per: day}");
        return None;
    }
    Some(Budget {
        usd: usd.map(|usd| usd.value.0),
        tokens: tokens.map(|tokens| tokens.value),
        per: per(file.per.as_ref().map_or(PerText::Day, |p| p.value)),
        timezone: file.timezone.as_ref().map(|z| z.value.clone()).unwrap_or_default(),
        on_exceed: match file.on_exceed.as_ref().map(|on| on.value) {
            None | Some(OnExceedText::Pause) => OnExceed::Pause,
            Some(OnExceedText::Fail) => OnExceed::Fail,
            Some(OnExceedText::Ask) => OnExceed::Ask,
        },
    })
}

/// `10000/day`.
fn short(text: &At<String>, cx: &mut Cx) -> Option<Quota> {
    let parsed = text.value.split_once('/').and_then(|(units, window)| {
        let per = match window.trim() {
            "hour" | "h" => Per::Hour,
            "day" | "d" => Per::Day,
            "week" | "w" => Per::Week,
            "month" => Per::Month,
            _ => return None,
        };
        Some((units.trim().parse().ok().filter(|units: &u64| *units > 0)?, per))
    });
    let Some((units, per)) = parsed else {
        let message = format!("{:?} is not a quota", text.value);
        let d = cx.error(codes::WRONG_VALUE, text.span.clone(), message);
        d.help("write 10000/day (or /hour, /week, /month), or a mapping with `units`");
        return None;
    };
    Some(Quota { units, per, timezone: String::new(), cost: Default::default() })
}

fn per(text: PerText) -> Per {
    match text {
        PerText::Hour => Per::Hour,
        PerText::Day => Per::Day,
        PerText::Week => Per::Week,
        PerText::Month => Per::Month,
    }
}

fn breaker(text: &BreakerText, cx: &mut Cx) -> Option<BreakerSpec> {
    let file = match text {
        BreakerText::Switch(on) => return on.then_some(BREAKER),
        BreakerText::Map(file) => file,
    };
    if let Some(zero) = file.failures.as_ref().filter(|f| f.value == 0) {
        let message = "a breaker that opens after no failure lets nothing through".into();
        cx.error(codes::WRONG_VALUE, zero.span.clone(), message).help("write 1 or more");
    }
    let span = |d: &Option<At<Duration>>, or: Span| d.as_ref().map_or(or, |d| d.value.0);
    let open_for = span(&file.open_for, BREAKER.open_for);
    if let Some(zero) = file.open_for.as_ref().filter(|o| o.value.0.0 == 0) {
        let message = "a breaker that is open for no time does nothing".into();
        cx.error(codes::WRONG_VALUE, zero.span.clone(), message);
    }
    Some(BreakerSpec {
        failures: file.failures.as_ref().map_or(BREAKER.failures, |f| f.value.max(1)),
        within: file.within.as_ref().map(|w| w.value.0).or(BREAKER.within),
        open_for,
        open_for_max: span(&file.open_for_max, BREAKER.open_for_max.max(open_for)),
    })
}
