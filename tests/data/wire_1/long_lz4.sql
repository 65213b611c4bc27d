COPY (SELECT pgcopy.send_frames(wire => 1, query => 'SELECT id, body FROM ONLY public.long', form => 'binary', codec => 'lz4')) TO STDOUT (FORMAT binary)
