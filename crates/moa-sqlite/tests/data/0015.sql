-- What a store of schema 15 may hold: a row of every kind.
INSERT INTO runs (no, id, workflow, hash, status, phase, priority, params, parent, parent_step,
  parent_depth, created_at, started_at, finished_at, output, error, extra, idempotency_key, root)
VALUES
  (1, x'01900000000070008000000000000001', 'build', x'0707070707070707070707070707070707070707070707070707070707070707',
   4, 4, 2, '{"branch":"main"}', NULL, NULL, NULL, 1750000000000, 1750000000001, 1750000000009,
   '{"ok":true}', NULL, '{"cause":"cli"}', 'order-1', NULL),
  (2, x'01900000000070008000000000000002', 'build', x'0707070707070707070707070707070707070707070707070707070707070707',
   1, 0, 0, NULL, x'01900000000070008000000000000001', 3, 1, 1750000000002, 1750000000003, NULL,
   NULL, '{"kind":"permanent","message":"no"}', '{"cause":"run","paused":false,"concurrency_key":"deploy","fairness":{"key":"tenant","weight":3}}', NULL, x'01900000000070008000000000000001'),
  (3, x'01900000000070008000000000000003', 'build', x'0707070707070707070707070707070707070707070707070707070707070707',
   0, 0, 3, '{}', NULL, NULL, NULL, 1750000000004, NULL, NULL,
   NULL, NULL, '{"cause":"cli","concurrency_key":"deploy"}', NULL, NULL),
  (4, x'01900000000070008000000000000004', 'moa-notify', x'0707070707070707070707070707070707070707070707070707070707070707',
   5, 4, 2, '{"channel":"webhook-billing","key":"1","said":{}}', NULL, NULL, NULL, 1750000000004, 1750000000005, 1750000000006,
   NULL, '{"kind":"permanent","message":"HTTP 400"}', '{"cause":"cli"}', 'moa-notify/webhook-billing/1', NULL);
INSERT INTO run_params VALUES (2, '{"long":"kept apart"}');
INSERT INTO steps VALUES
  (1, 0, 0, NULL, 0, 4, NULL, NULL, 1, 0, NULL, NULL, 1750000000001, 1750000000001, 1750000000005, NULL, '{"n":0.1}', NULL, NULL, NULL, ''),
  (1, 1, 1, NULL, 0, 6, NULL, 1, 0, 0, NULL, NULL, NULL, NULL, 1750000000006, NULL, NULL, NULL, NULL, NULL, ''),
  (2, 0, 0, NULL, 0, 2, NULL, NULL, 2, 1, -5, NULL, 1750000000003, 1750000000003, NULL, NULL, NULL, '{"kind":"lost","message":"gone"}', NULL, NULL, ''),
  (2, 1, 1, 0, 7, 1, NULL, NULL, 0, 0, NULL, 1750000000003, 1750000000003, NULL, NULL, NULL, NULL, NULL, '{"branch":1,"opened":true}', 'a', 'tenant'),
  (2, 2, 2, NULL, 0, 3, 4, NULL, 0, 0, NULL, NULL, 1750000000003, NULL, NULL, 1750000099999, NULL, NULL, NULL, NULL, '');
INSERT INTO history VALUES
  (1, 1, 1, 1750000000000, '[{"type":"run_started"}]'),
  (2, 2, 1, 1750000000002, '[{"type":"run_started"},{"type":"step_ready","step":1}]'),
  (4, 1, 2, 1750000000009, '[{"type":"run_succeeded","output":{"ok":true}}]'),
  (3, 4, 1, 1750000000004, '[{"type":"run_started"}]'),
  (5, 3, 1, 1750000000004, '[{"type":"run_paused"}]');
INSERT INTO timers VALUES (2, 0, 2, 1750000099999), (2, 2, 0, 1750000555555);
INSERT INTO messages (id, run, body, root, handed_to, handed_until, published) VALUES
  (7, x'01900000000070008000000000000002', '{"message":"input","input":"admit"}', x'01900000000070008000000000000001', NULL, NULL, NULL),
  (8, x'01900000000070008000000000000009', '{"message":"start_child","workflow":"build","params":{},"parent":{"run":"01900000-0000-7000-8000-000000000002","step":2,"depth":2},"priority":"low"}', x'01900000000070008000000000000001', NULL, NULL, NULL),
  (9, x'00000000000000000000000000000000', '{"message":"emitted","type":"done","source":"01900000-0000-7000-8000-000000000003","data":[1]}', x'01900000000070008000000000000003', 1, 3, NULL),
  (10, x'01900000000070008000000000000008', '{"message":"input","input":"admit"}', NULL, NULL, NULL, NULL),
  (11, x'00000000000000000000000000000000', '{"message":"emitted","type":"order.paid","data":{"n":10}}', NULL, NULL, NULL, 7);
INSERT INTO waits VALUES (2, 2, 'done');
INSERT INTO slots VALUES (2, 'deploy', 1, 1, 0), (3, 'deploy', 1, 0, 4);
INSERT INTO workflows VALUES
  (1, x'0707070707070707070707070707070707070707070707070707070707070707', 'build', 'v1', 'name: build', '{"steps":[{},{"kind":{"kind":"task","agent":"a"}}]}', 1750000000000);
UPDATE counters SET value = 5 WHERE name = 'event';
UPDATE counters SET value = 12 WHERE name = 'message';
INSERT INTO doomed VALUES (9);
INSERT INTO spent_keys VALUES ('order-0', x'01900000000070008000000000000009', 1750000000000);
INSERT INTO artifacts VALUES (x'0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A0A', 1);
INSERT INTO steps VALUES
  (9, 0, 0, NULL, 0, 4, NULL, NULL, 1, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '');
INSERT INTO history VALUES (6, 9, 1, 1750000000000, '[{"type":"run_started"}]');
UPDATE counters SET value = 6 WHERE name = 'event';

INSERT INTO limits (agent, version, state) VALUES
('caller', 7, '{"breaker":{"is":"open","until":1750000200000,"failures":5,"times":2}}'),
('uploader', 3, '{"rates":[[[1750000000000,2],[1750000001000,1]]],"quota":{"window":1749945600000,"units":4800}}');
INSERT INTO triggers VALUES
  (1, x'f9a0b90356ea82caa17eb64f2c2dfb7b', 'build', 'nightly', 3, '{"workflow":"build","name":"nightly","source":{"kind":"event","event":"done"},"enabled":true,"overlap":"skip"}', '{"since":1750000000000,"counts":{"started":1,"missed":4},"last_backfill":2}', 1750000000000),
  (2, x'551345303ab88a219151333198c4152d', 'build', 'after', 1, '{"workflow":"build","name":"after","source":{"kind":"runs","of":[{"workflow":"deploy","status":"ended"}],"all":true},"enabled":false,"overlap":"allow"}', '{"removed":true}', NULL),
  (3, x'6039463032df8b549e1ba4b6161a0784', 'mailer', 'rule:paid', 2, '{"workflow":"mailer","name":"paid","rule":true,"source":{"kind":"event","event":"order.paid"},"enabled":true,"overlap":"allow","params":{"n":1}}', '{"since":1750000000000,"last_started":1750000000001,"counts":{"started":1}}', NULL);
INSERT INTO occurrences VALUES
  (1, 'event-7', 1750000000000, NULL, NULL, 1, -1, 0, 0, NULL, x'01900000000070008000000000000001', 4, 1750000000001),
  (1, 'event-6', 1750000000000, NULL, NULL, 1, -1, 0, 15, 'it shares the run of event-7', x'01900000000070008000000000000001', 4, 1750000000001),
  (1, '2025-06-15T15:06:40.000Z..2025-06-15T15:06:41.000Z', 1750000000000, 7200, 1750000000999, 4, 9, 4, 9, 'older', NULL, NULL, 1750000000002);
INSERT INTO listeners VALUES ('ended:deploy', 2), ('event:done', 1), ('event:order.paid', 3);
INSERT INTO posts VALUES ('order-9', 1750000000000, NULL), ('order-10', 1750000000000, 7);
INSERT INTO history VALUES (7, 0, 7, 1750000000000,
  '[{"type":"event_published","event":"order.paid","key":"order-10","source":"/shop","by":"ann","data":{"n":10}}]');
INSERT INTO published VALUES (7, 1750000000000,
  '{"triggers":[["60394630-32df-8b54-9e1b-a4b6161a0784",12]],"runs":2,"first_runs":["01900000-0000-7000-8000-000000000001"]}');
UPDATE counters SET value = 7 WHERE name = 'event';
INSERT INTO run_triggers VALUES
  (1, '{"trigger":"f9a0b903-56ea-82ca-a17e-b64f2c2dfb7b","name":"build/nightly","key":"event-7","vars":{"event":{}}}');
INSERT INTO audit VALUES
  (1, x'0101010101010101010101010101010101010101010101010101010101010101', '{"at":"2025-06-15T15:06:40Z","who":"unix:1000 (ann)","from":"socket (pid 7)","action":"run.cancel","object":"01900000-0000-7000-8000-000000000001","phase":"asked"}'),
  (2, x'0202020202020202020202020202020202020202020202020202020202020202', '{"at":"2025-06-15T15:06:40Z","who":"unix:1000 (ann)","from":"socket (pid 7)","action":"run.cancel","object":"01900000-0000-7000-8000-000000000001","phase":"done","of":1}');
INSERT INTO secrets VALUES ('TOKEN', 2, x'6D6F617301', 1750000000000);
