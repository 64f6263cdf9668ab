! SPDX-License-Identifier: Apache-2.0
!> The choices of a run, read from a namelist.
module settings
   use constants, only: days_per_year
   use parallel, only: stop_all
   implicit none
   private
   public :: settings_t, read_settings

   type :: settings_t
      character(len=:), allocatable :: forcing
         !! NetCDF file with one year of daily forcing.
      character(len=:), allocatable :: output
         !! NetCDF file for the means of the result period.
      character(len=:), allocatable :: summary
         !! JSON file for budgets and timings.
      character(len=:), allocatable :: coupling
         !! YAML file that names the emulators.
      logical :: coupled = .false.
         !! Whether emulators are called. The model then still gives lai where no emulator does.
      integer :: emulated_from = 0
         !! Day from which an emulator steps the land in place of this model's physics, except on ice; 0: never.
      integer :: start_year = 2001
      integer :: days = 2*days_per_year
         !! Length of the run [d]; the one year of forcing is repeated.
      integer :: result_days = days_per_year
         !! The last days of the run, which are the result; what is before them is spin-up [d].
      integer :: progress_days = 10
         !! Days between two progress lines; 0: none.
   end type settings_t

   integer, parameter :: path_length = 1024

contains

   function read_settings(path) result(read_from_file)
      !! Read the namelist group `land_model`.
      character(len=*), intent(in) :: path
      type(settings_t) :: read_from_file
      character(len=path_length) :: forcing, output, summary, coupling, message
      logical :: coupled
      integer :: emulated_from, start_year, days, result_days, progress_days, unit, status
      namelist /land_model/ forcing, output, summary, coupling, coupled, emulated_from, start_year, days, result_days, &
         progress_days

      associate (default => read_from_file)
         coupled = default%coupled
         emulated_from = default%emulated_from
         start_year = default%start_year
         days = default%days
         result_days = default%result_days
         progress_days = default%progress_days
      end associate
      forcing = 'global_forcing_t31.nc'
      output = 'land_model.nc'
      summary = 'land_model_summary.json'
      coupling = 'coupling.yml'

      open (newunit=unit, file=path, status='old', action='read', iostat=status, iomsg=message)
      if (status /= 0) call stop_all('the namelist '//path//' cannot be opened: '//trim(message)// &
         '. Give its path as the first argument.')
      read (unit, nml=land_model, iostat=status, iomsg=message)
      if (status /= 0) call stop_all('the group land_model of '//path//' cannot be read: '//trim(message)//'.')
      close (unit)
      if (days < 1) call stop_all('days in '//path//' must be at least 1.')
      if (emulated_from > 0 .and. .not. coupled) call stop_all('emulated_from in '//path//' needs coupled = .true.')

      read_from_file%forcing = trim(forcing)
      read_from_file%output = trim(output)
      read_from_file%summary = trim(summary)
      read_from_file%coupling = trim(coupling)
      read_from_file%coupled = coupled
      read_from_file%emulated_from = emulated_from
      read_from_file%start_year = start_year
      read_from_file%days = days
      read_from_file%result_days = max(1, min(result_days, days))
      read_from_file%progress_days = progress_days
   end function read_settings
end module settings
