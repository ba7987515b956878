"""The documentation: every example of README.md, docs/ and the notebooks runs or says why not, every link leads somewhere, and the site builds."""
