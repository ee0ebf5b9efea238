DROP TRIGGER audit_append_only ON audit;
DROP FUNCTION audit_is_append_only();
