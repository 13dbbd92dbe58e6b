-- What a store of schema 1 may hold: a row of every kind.
INSERT INTO runs VALUES
  (1, x'01900000000070008000000000000001', 'build', x'0707070707070707070707070707070707070707070707070707070707070707',
   4, 4, 2, '{"branch":"main"}', NULL, NULL, NULL, 1750000000000, 1750000000001, 1750000000009,
   '{"ok":true}', NULL, '{"cause":"cli"}', 'order-1'),
  (2, x'01900000000070008000000000000002', 'build', x'0707070707070707070707070707070707070707070707070707070707070707',
   1, 0, 0, NULL, x'01900000000070008000000000000001', 3, 1, 1750000000002, 1750000000003, NULL,
   NULL, '{"kind":"permanent","message":"no"}', '{"cause":"run","paused":false,"concurrency_key":"deploy"}', NULL),
  (3, x'01900000000070008000000000000003', 'build', x'0707070707070707070707070707070707070707070707070707070707070707',
   0, 0, 3, '{}', NULL, NULL, NULL, 1750000000004, NULL, NULL,
   NULL, NULL, '{"cause":"cli","concurrency_key":"deploy"}', NULL);
INSERT INTO run_params VALUES (2, '{"long":"kept apart"}');
INSERT INTO steps VALUES
  (1, 0, 0, NULL, 0, 4, NULL, NULL, 1, 0, NULL, NULL, 1750000000001, 1750000000001, 1750000000005, NULL, '{"n":0.1}', NULL, NULL),
  (1, 1, 1, NULL, 0, 6, NULL, 1, 0, 0, NULL, NULL, NULL, NULL, 1750000000006, NULL, NULL, NULL, NULL),
  (2, 0, 0, NULL, 0, 2, NULL, NULL, 2, 1, -5, NULL, 1750000000003, 1750000000003, NULL, NULL, NULL, '{"kind":"lost","message":"gone"}', NULL),
  (2, 1, 1, 0, 7, 1, NULL, NULL, 0, 0, NULL, 1750000000003, 1750000000003, NULL, NULL, NULL, NULL, NULL, '{"branch":1,"opened":true}'),
  (2, 2, 2, NULL, 0, 3, 4, NULL, 0, 0, NULL, NULL, 1750000000003, NULL, NULL, 1750000099999, NULL, NULL, NULL);
INSERT INTO history VALUES
  (1, 1, 1, 1750000000000, '[{"type":"run_started"}]'),
  (2, 2, 1, 1750000000002, '[{"type":"run_started"},{"type":"step_ready","step":1}]'),
  (4, 1, 2, 1750000000009, '[{"type":"run_succeeded","output":{"ok":true}}]'),
  (5, 3, 1, 1750000000004, '[{"type":"run_paused"}]');
INSERT INTO timers VALUES (2, 0, 2, 1750000099999), (2, 2, 0, 1750000555555);
INSERT INTO messages VALUES
  (7, x'01900000000070008000000000000002', '{"message":"input","input":"admit"}'),
  (9, x'00000000000000000000000000000000', '{"message":"emitted","type":"done","data":[1]}');
INSERT INTO waits VALUES (2, 2, 'done');
INSERT INTO slots VALUES (2, 'deploy', 1, 1, 0), (3, 'deploy', 1, 0, 4);
INSERT INTO workflows VALUES
  (1, x'0707070707070707070707070707070707070707070707070707070707070707', 'build', 'v1', 'name: build', '{"steps":[{},{"kind":{"kind":"task","agent":"a"}}]}', 1750000000000);
UPDATE counters SET value = 5 WHERE name = 'event';
UPDATE counters SET value = 12 WHERE name = 'message';
