//! Parts of timestamps and durations. Zones are UTC and fixed offsets: this crate reads no files,
//! so it has no time zone database.

use jiff::civil::DateTime;
use jiff::tz::Offset;

use super::{Answer, Function, method};
use crate::expr::eval::{Context, Fault};
use crate::expr::operand::Operand;
use crate::expr::temporal;

const TIMESTAMP: &str = "a timestamp, and an offset such as \"+02:00\"";
const EITHER: &str = "a timestamp, and an offset such as \"+02:00\", or a duration";

pub(super) const TABLE: &[Function] = &[
    method("getFullYear", (1, 2), TIMESTAMP, |cx, args| civil(cx, args, |t| t.year().into())),
    method("getMonth", (1, 2), TIMESTAMP, |cx, args| civil(cx, args, |t| i64::from(t.month()) - 1)),
    method("getDate", (1, 2), TIMESTAMP, |cx, args| civil(cx, args, |t| t.day().into())),
    method("getDayOfMonth", (1, 2), TIMESTAMP, |cx, args| {
        civil(cx, args, |t| i64::from(t.day()) - 1)
    }),
    method("getDayOfWeek", (1, 2), TIMESTAMP, |cx, args| {
        civil(cx, args, |t| t.weekday().to_sunday_zero_offset().into())
    }),
    method("getDayOfYear", (1, 2), TIMESTAMP, |cx, args| {
        civil(cx, args, |t| i64::from(t.day_of_year()) - 1)
    }),
    method("getHours", (1, 2), EITHER, |cx, args| match &args[0] {
        Operand::Duration(d) if args.len() == 1 => Ok(Operand::Int(d.as_secs() / 3600)),
        _ => civil(cx, args, |t| t.hour().into()),
    }),
    method("getMinutes", (1, 2), EITHER, |cx, args| match &args[0] {
        Operand::Duration(d) if args.len() == 1 => Ok(Operand::Int(d.as_secs() / 60)),
        _ => civil(cx, args, |t| t.minute().into()),
    }),
    method("getSeconds", (1, 2), EITHER, |cx, args| match &args[0] {
        Operand::Duration(d) if args.len() == 1 => Ok(Operand::Int(d.as_secs())),
        _ => civil(cx, args, |t| t.second().into()),
    }),
    method("getMilliseconds", (1, 2), EITHER, |cx, args| match &args[0] {
        Operand::Duration(d) if args.len() == 1 => Ok(Operand::Int(d.subsec_millis().into())),
        _ => civil(cx, args, |t| t.millisecond().into()),
    }),
];

fn civil<'a>(
    cx: &mut Context<'a, '_>,
    args: &[Operand<'a>],
    part: fn(DateTime) -> i64,
) -> Answer<'a> {
    let Operand::Timestamp(timestamp) = args[0] else {
        return Err(cx.mismatch(args));
    };
    let offset = match args.get(1) {
        None => Offset::UTC,
        Some(zone) => {
            let zone = zone.as_str().ok_or_else(|| cx.mismatch(args))?;
            let offset = temporal::parse_offset(zone).and_then(|s| Offset::from_seconds(s).ok());
            offset.ok_or_else(|| {
                Fault::hinted(
                    format!("there is no zone `{}`", zone.chars().take(40).collect::<String>()),
                    "write \"UTC\" or an offset such as \"+02:00\"",
                )
            })?
        }
    };
    Ok(Operand::Int(part(offset.to_datetime(timestamp))))
}
