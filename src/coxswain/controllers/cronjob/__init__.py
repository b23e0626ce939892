"""The cron job controller: ``schedule`` knows when, ``controller`` creates and tidies Jobs."""
