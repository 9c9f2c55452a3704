"""An app for Python workers in processes of their own, beside those of the npm package."""
