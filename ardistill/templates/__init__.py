"""What `ardistill plugins new` writes: common/ and one folder a kind, filled in by jinja2; none of it runs here."""
