"""An app for workers in processes of their own: workflows that can be watched through files."""
