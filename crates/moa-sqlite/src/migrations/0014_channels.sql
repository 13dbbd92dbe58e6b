-- Notifications are found by their channel and key, which are params: so those stand in the row.
UPDATE runs SET params = (SELECT p.params FROM run_params p WHERE p.run_no = runs.no)
  WHERE workflow = 'moa-notify' AND params IS NULL;
DELETE FROM run_params WHERE run_no IN (SELECT no FROM runs WHERE workflow = 'moa-notify');
CREATE INDEX runs_channels ON runs (params ->> '$.channel', id, status)
  WHERE workflow = 'moa-notify';
CREATE INDEX runs_channel_keys ON runs (params ->> '$.channel', params ->> '$.key', id, status)
  WHERE workflow = 'moa-notify';
