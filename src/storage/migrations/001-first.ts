/**
 * The first schema.
 *
 * Every column of secrets, secret_versions, tenant_keys and store_keys is authenticated (docs/seal-format.md); those that no
 * feature uses yet hold neutral values. STRICT tables refuse other types; WITHOUT ROWID keeps a row in the tree of its key.
 */

export const FIRST_SCHEMA = `
CREATE TABLE meta (
  name  TEXT PRIMARY KEY,
  value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE store_keys (
  owner      TEXT    NOT NULL,
  version    INTEGER NOT NULL,
  provider   TEXT    NOT NULL,
  wrapped    BLOB    NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (owner, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant_keys (
  owner      TEXT    NOT NULL,
  version    INTEGER NOT NULL,
  provider   TEXT    NOT NULL,
  wrapped    BLOB    NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (owner, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE secrets (
  id                BLOB    PRIMARY KEY,
  tenant            TEXT    NOT NULL,
  name              TEXT    NOT NULL,
  index_key         INTEGER NOT NULL,
  placeholder_index BLOB    NOT NULL,
  state             TEXT    NOT NULL,
  current_version   INTEGER NOT NULL,
  key_version       INTEGER NOT NULL,
  max_uses          INTEGER,
  uses_left         INTEGER,
  idle_expires_after INTEGER,
  last_used_at      INTEGER,
  archived_at       INTEGER,
  held              INTEGER NOT NULL,
  labels            TEXT    NOT NULL,
  created_at        INTEGER NOT NULL,
  updated_at        INTEGER NOT NULL,
  epoch             INTEGER NOT NULL,
  mac               BLOB    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX secrets_by_name ON secrets (tenant, name);
CREATE UNIQUE INDEX secrets_by_placeholder ON secrets (placeholder_index, index_key);

CREATE TABLE secret_versions (
  secret_id   BLOB    NOT NULL,
  version     INTEGER NOT NULL,
  stage       TEXT    NOT NULL,
  targets     TEXT    NOT NULL,
  not_before  INTEGER,
  expires_at  INTEGER,
  key_version INTEGER NOT NULL,
  created_at  INTEGER NOT NULL,
  epoch       INTEGER NOT NULL,
  sealed      BLOB    NOT NULL,
  mac         BLOB    NOT NULL,
  PRIMARY KEY (secret_id, version)
) STRICT, WITHOUT ROWID;
`
