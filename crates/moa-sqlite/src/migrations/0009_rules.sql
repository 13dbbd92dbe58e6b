-- Rules: triggers that no file of the project says. A trigger's `name` is `rule:NAME` then, and its
-- `workflow` may change.

-- For people: keeps its name and columns when the tables change. `action_type` is 'run_workflow'
-- alone, with the workflow and the params (a template) in `action_config`; `last_triggered` is when
-- it last started a run.
CREATE VIEW webhook_triggers AS
SELECT
  substr(name, 6) AS name,
  spec ->> '$.source.event' AS trigger_event,
  'run_workflow' AS action_type,
  json_object('workflow', workflow, 'params', coalesce(spec -> '$.params', json('{}')))
    AS action_config,
  spec ->> '$.enabled' AS is_active,
  strftime('%Y-%m-%dT%H:%M:%fZ', (state ->> '$.last_started') / 1000.0, 'unixepoch')
    AS last_triggered
FROM triggers
WHERE substr(name, 1, 5) = 'rule:' AND NOT coalesce(state ->> '$.removed', 0);
