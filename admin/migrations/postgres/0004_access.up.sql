-- Tokens, of which only hashes are kept, and the answers that are given again to a repeated request.

CREATE TABLE tokens (
    id text COLLATE "C" NOT NULL PRIMARY KEY,
    sha256 text COLLATE "C" NOT NULL UNIQUE,
    name text COLLATE "C" NOT NULL,
    scopes text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    created_by text COLLATE "C" NOT NULL,
    expires_at bigint,
    revoked_at bigint,
    last_used_at bigint
);

CREATE TABLE remembered (
    token text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    request text COLLATE "C" NOT NULL,
    status bigint NOT NULL,
    headers text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    body text COLLATE "C" NOT NULL,
    PRIMARY KEY (token, key)
);

CREATE INDEX remembered_age ON remembered (created_at);
