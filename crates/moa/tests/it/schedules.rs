//! Schedules of workflows and the calendars that they use, with the real binary.

use crate::project::Project;

const SCHEDULE: &str = "\
schedule: {cron: '0 9 * * *', timezone: Europe/Berlin, calendar: {exclude: de-holidays}}
steps: [{run: 'true'}]
";
const HOLIDAYS: &str = "\
BEGIN:VCALENDAR\r
VERSION:2.0\r
BEGIN:VEVENT\r
UID:1\r
DTSTART;VALUE=DATE:20261225\r
RRULE:FREQ=YEARLY\r
END:VEVENT\r
END:VCALENDAR\r
";

#[test]
fn calendars_of_the_project_are_read_and_asked_for() {
    let project = Project::with("report", SCHEDULE);
    let said = project.call(&["workflows", "validate"]).expect(3);
    assert!(said.out.contains("there is no calendar `de-holidays`"), "{}", said.out);
    assert!(said.out.contains("put it into calendars/de-holidays.ics"), "{}", said.out);

    project.write("calendars/de-holidays.ics", HOLIDAYS);
    project.write("calendars/.de-holidays.ics.swp", "left by an editor");
    project.call(&["workflows", "validate"]).expect(0);
    project.call(&["run", "report"]).expect(0);

    project.write("calendars/de-holidays.ics", "no calendar");
    let said = project.call(&["workflows", "validate"]).expect(3);
    assert!(said.out.contains("calendars/de-holidays.ics:1:1"), "{}", said.out);
    assert!(said.out.contains("MOA0610"), "{}", said.out);

    project.workflow("report", &SCHEDULE.replace("0 9 * * *", "0 25 * * *"));
    let said = project.call(&["workflows", "validate"]).expect(3);
    assert!(said.out.contains("the hour 25 is not in 0 to 23"), "{}", said.out);
}
