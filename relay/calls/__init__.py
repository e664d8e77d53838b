"""What the notifications of a call say together: who, when, how it ended. Pure; knows no CRM."""
