"""The mathematics: functions of arrays, with no network and no framework in sight."""
